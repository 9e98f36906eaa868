// Package event is the closed list of what can happen in a cluster, by name. Log lines, the event stream
// of the dashboard, audit and tests use these words and no others. In the manner of Sentinel a name begins
// with + when something begins or becomes true and with - when it ends. Values only.
package event

import (
	"fmt"
	"strings"
	"time"
)

// Name is the word for one kind of event.
type Name string

// The events of the control plane.
const (
	Leader          Name = "+leader"           // this dashboard decides from now on
	LeaderLost      Name = "-leader"           // it no longer does
	Down            Name = "+down"             // a node is taken for dead, by a broken connection or by silence
	Up              Name = "-down"             // it is back
	Suspect         Name = "+suspect"          // a primary is silent here, but its replicas still hear it
	SuspectEnd      Name = "-suspect"          // it is heard again
	FailoverStart   Name = "+failover-start"   // a new epoch is committed to replace a primary
	Fenced          Name = "+fenced"           // a node has promised the new epoch
	LeaseWait       Name = "+lease-wait"       // promotion waits for the old primary's lease to end
	Selected        Name = "+selected"         // the node to promote is chosen
	CatchUp         Name = "+catch-up"         // it fetches the tail of a longer log first
	Promoted        Name = "+promoted"         // it is open for writes
	FailoverEnd     Name = "+failover-end"     // the new primary is published, the others follow it
	FailoverReject  Name = "+failover-reject"  // no node can be promoted; tried again when something changes
	FailoverBrake   Name = "+failover-brake"   // a failover is due but the last one is too recent
	SwitchoverStart Name = "+switchover-start" // a planned change of the primary begins
	SwitchoverEnd   Name = "+switchover-end"   // it is done
	SwitchoverAbort Name = "-switchover-abort" // it is given up; nothing has changed
	ReplicaAttached Name = "+replica-attached" // a node was told to follow the primary
	PrimaryOpened   Name = "+primary-opened"   // a shard's first primary, or one that came back, was opened
	Diverged        Name = "+diverged"         // a node's log holds bytes that the primary's history doesn't
	Failed          Name = "+failed"           // a node says that it can't serve
	FailedEnd       Name = "-failed"           // it can again
	ShardAdded      Name = "+shard-added"
	NodeAdded       Name = "+node-added"
	NodeRemoved     Name = "-node-removed"
	NodePriority    Name = "+node-priority" // a node's priority was changed
	PlanResumed     Name = "+plan-resumed"  // a dashboard goes on with a plan from the journal
	StepFailed      Name = "+step-failed"   // a step of a plan failed; it is tried again
)

// Names is the whole list.
func Names() []Name {
	return []Name{Leader, LeaderLost, Down, Up, Suspect, SuspectEnd, FailoverStart, Fenced, LeaseWait,
		Selected, CatchUp, Promoted, FailoverEnd, FailoverReject, FailoverBrake, SwitchoverStart, SwitchoverEnd,
		SwitchoverAbort, ReplicaAttached, PrimaryOpened, Diverged, Failed, FailedEnd, ShardAdded, NodeAdded,
		NodeRemoved, NodePriority, PlanResumed, StepFailed}
}

// Event is one occurrence. Empty fields don't apply.
type Event struct {
	Seq   uint64    `json:"seq"` // rises by one with each event of a dashboard's run
	Time  time.Time `json:"time"`
	Name  Name      `json:"name"`
	Shard string    `json:"shard,omitempty"`
	Node  string    `json:"node,omitempty"`
	Epoch uint64    `json:"epoch,omitempty"`
	Text  string    `json:"text,omitempty"`
}

// String is the event as one line, without time.
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(string(e.Name))
	for _, f := range []struct{ k, v string }{{"shard", e.Shard}, {"node", e.Node}} {
		if f.v != "" {
			fmt.Fprintf(&b, " %s=%s", f.k, f.v)
		}
	}
	if e.Epoch != 0 {
		fmt.Fprintf(&b, " epoch=%d", e.Epoch)
	}
	if e.Text != "" {
		fmt.Fprintf(&b, " (%s)", e.Text)
	}
	return b.String()
}
