package allocation_test

import (
	"errors"
	"math"
	"testing"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
)

func TestWhatBinds(t *testing.T) {
	t.Parallel()
	tree := evaluate(t,
		allocation.Scope{ID: 1, Planned: allocation.Fixed, Amount: 100, Rollover: 20},
		allocation.Scope{ID: 2, Parent: 1, Planned: allocation.Fixed, Amount: 50},
		allocation.Scope{ID: 3, Parent: 2},
		allocation.Scope{ID: 4, Cap: amount(40)},
		allocation.Scope{ID: 5})
	type amounts map[int64]credit.Amount
	for name, c := range map[string]struct {
		path           []int64
		used, reserved amounts
		want           allocation.Availability
	}{
		"the user":             {[]int64{1, 2, 3, 4}, amounts{1: 30, 2: 30, 3: 30, 4: 25}, nil, allocation.Availability{Amount: 15, Binding: 4, Limited: true}},
		"a reservation":        {[]int64{1, 2, 3, 4}, amounts{1: 30, 2: 30, 4: 25}, amounts{2: 10}, allocation.Availability{Amount: 10, Binding: 2, Limited: true}},
		"below zero":           {[]int64{1, 2, 3, 4}, amounts{2: 51}, nil, allocation.Availability{Amount: -1, Binding: 2, Limited: true}},
		"the first of several": {[]int64{1, 2}, amounts{1: 70}, nil, allocation.Availability{Amount: 50, Binding: 1, Limited: true}},
		"nothing":              {[]int64{5}, amounts{5: 1000}, nil, allocation.Availability{}},
		"corrected":            {[]int64{4}, amounts{4: math.MinInt64 + 41}, amounts{4: 1000}, allocation.Availability{Amount: math.MaxInt64 - 1000, Binding: 4, Limited: true}},
	} {
		got, err := tree.Available(c.path, allocation.Usage{Used: c.used, Reserved: c.reserved})
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := tree.Available([]int64{1, 99}, allocation.Usage{}); err == nil {
		t.Error("a scope that is not there was passed over")
	}
	if a, err := tree.Available([]int64{1}, allocation.Usage{Used: amounts{1: math.MinInt64}}); !errors.Is(err, credit.ErrOverflow) {
		t.Errorf("%+v, %v", a, err)
	}
}
