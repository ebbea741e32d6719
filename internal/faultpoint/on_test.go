//go:build faults

package faultpoint

import "testing"

func TestParse(t *testing.T) {
	t.Parallel()
	list, err := parse("a.b:3:kill,c:*:sleep=20ms")
	if err != nil || len(list) != 2 || list[0] != (fault{"a.b", 3, "kill"}) || list[1] != (fault{"c", 0, "sleep=20ms"}) {
		t.Errorf("%+v %v", list, err)
	}
	for _, bad := range []string{"a", "a:0:kill", "a:x:kill", "a:1:explode", "a:1:sleep=long"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
