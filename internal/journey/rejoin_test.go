package journey_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/worker"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A process that was killed is still a member of the group, and holds up everybody until its session times out. Its
// successor at the same address does not wait for that.
func TestAKilledProcessHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	const address = "a-host/127.0.0.1:8080"
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.kafka), kgo.ClientID("cockpit-metering@"+address))
	d.must(err)
	defer cl.Close()
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType = worker.Group, "consumer"
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = int32(5*time.Minute/time.Millisecond), int32(10*time.Minute/time.Millisecond)
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "cooperative-sticky"}}
	for {
		res, err := join.RequestWith(t.Context(), cl)
		d.must(err)
		join.MemberID = res.MemberID
		if err := kerr.ErrorForCode(res.ErrorCode); !errors.Is(err, kerr.MemberIDRequired) {
			d.must(err)
			break
		}
	}
	stats, _ := d.work(func(c *worker.Config) { c.Address = address })
	d.send(usage("a"))
	d.eventually(func() bool { return stats.Charged.Load() == 1 }, func() string { return fmt.Sprint(stats.Charged.Load()) })
}
