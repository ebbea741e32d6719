package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sessionTimeout is after how long without a heartbeat the partitions of a process that is gone go to others. It is the
// least that a broker accepts by default. That a process is alive and was only slow does no harm: its commits are refused.
const sessionTimeout = 6 * time.Second

// clientID names this process in the group: as long as it lives, nobody else can serve at its address.
func (s *Service) clientID() string { return "cockpit-metering@" + s.cfg.Address }

// buryFormer takes out of the group the member that this process was before it was killed, so that its partitions do not
// wait for its session to time out. Should another machine have the same name, its member only joins again.
func (s *Service) buryFormer(ctx context.Context) error {
	described, err := s.admin.DescribeGroups(ctx, Group)
	if err != nil {
		return fmt.Errorf("look at the group %s: %w", Group, err)
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = Group
	for _, m := range described[Group].Members {
		if m.ClientID == s.clientID() {
			leave.Members = append(leave.Members, kmsg.LeaveGroupRequestMember{MemberID: m.MemberID})
		}
	}
	if len(leave.Members) == 0 {
		return nil
	}
	_, err = leave.RequestWith(ctx, s.producer)
	return err
}
