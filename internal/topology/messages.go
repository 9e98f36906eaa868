package topology

import "fmt"

// The agent protocol: a dashboard (or, for the failsafe lease, another node's agent) dials the agent port
// of a node and both sides write one JSON object per line, PeerFrame towards the node and AgentFrame back.
// Durations are whole milliseconds and are always ages or remainders, never clock readings: no two
// machines compare clocks.

// AgentProtocol is the version both sides state in their hello. A side refuses a version above its own.
const AgentProtocol = 1

// MaxFrame bounds one line of the agent protocol in bytes.
const MaxFrame = 1 << 20

// Role is what a node does with its data.
type Role string

// The roles. A node that has started and doesn't know yet which one it has reports the last one it had,
// with Pending set.
const (
	RolePrimary Role = "primary"
	RoleReplica Role = "replica"
)

// LinkState is the state of a replica's connection to its primary.
type LinkState string

// The states of a link.
const (
	LinkNone       LinkState = ""           // not a replica
	LinkConnecting LinkState = "connecting" // dialling or shaking hands
	LinkSync       LinkState = "sync"       // receiving a full copy, or rewinding before one
	LinkUp         LinkState = "up"         // streaming
	LinkDown       LinkState = "down"       // lost, waiting for the next attempt
)

// Reign is one opening for writes: the epoch, the replication id and where in the stream it began.
type Reign struct {
	Epoch  Epoch  `json:"epoch"`
	ReplID string `json:"replid"`
	Start  int64  `json:"start"`
}

// Link is a replica's side of replication.
type Link struct {
	State   LinkState `json:"state,omitempty"`
	Primary string    `json:"primary,omitempty"` // host:port it follows or tries to
	// AgeMs is the time since bytes last came from the primary (keep-alives count), -1 if none ever did.
	AgeMs int64 `json:"age_ms"`
	// Broken says that the primary's host answered the way a dead process does: it closed or reset the
	// established connection, or refuses a new one. A time-out is not Broken. It stands until the link is
	// up again and is what makes a replica a witness of a crash.
	Broken bool `json:"broken,omitempty"`
}

// ReplicaReport is a replica as its primary sees it.
type ReplicaReport struct {
	Addr   string `json:"addr"`
	Ack    int64  `json:"ack"`    // offset acknowledged
	LagMs  int64  `json:"lag_ms"` // since the last acknowledgement
	Online bool   `json:"online"` // streaming, not in a full copy
}

// NodeReport is what a node says about itself with each heartbeat.
type NodeReport struct {
	NodeID  NodeID `json:"node_id,omitempty"` // as a dashboard told it; filled in by the agent
	RunID   string `json:"run_id"`            // changes with each start of the process
	Version string `json:"version"`
	Addr    string `json:"addr,omitempty"` // of the client port, as announced

	Role Role `json:"role"`
	// Pending: started as a former primary, replays and serves nothing until it is told whom to follow or
	// to open.
	Pending bool `json:"pending,omitempty"`
	// Managed: has been opened, fenced or told to follow by a dashboard before, so as a primary it needs a
	// lease.
	Managed bool `json:"managed,omitempty"`

	// Epoch is that of the reign it serves or was last told to follow; Promised the highest one it has
	// promised (by fence, open or follow). Epoch <= Promised.
	Epoch    Epoch `json:"epoch"`
	Promised Epoch `json:"promised"`
	// LogEpoch is the epoch of the newest reign in its log. With End it orders logs: a replica that follows a
	// new primary but has not matched its log with it yet still has the old LogEpoch.
	LogEpoch Epoch   `json:"log_epoch"`
	ReplID   string  `json:"replid"`
	Lineage  []Reign `json:"lineage,omitempty"` // newest last, at most the last eight

	End     int64 `json:"end"`     // end of the log
	Durable int64 `json:"durable"` // fsynced up to
	Applied int64 `json:"applied"` // applied to the engine up to

	Link     Link            `json:"link"`
	Replicas []ReplicaReport `json:"replicas,omitempty"`

	Priority int    `json:"priority"` // the node's own replica-priority; 0 means never promote
	DiskFull bool   `json:"disk_full,omitempty"`
	Failed   string `json:"failed,omitempty"` // why the node can't serve: I/O error, diverged data ...
	Parked   bool   `json:"parked,omitempty"`
	Keys     int64  `json:"keys"`

	// Filled in by the agent: what remains of the lease (-1: needs none), and the revision of the member
	// list that it works with.
	LeaseMs int64  `json:"lease_ms"`
	Members uint64 `json:"members,omitempty"`
}

// FenceAnswer is what a node answers after it has promised an epoch: from then on it acknowledges no
// write, appends no stream bytes and acknowledges none under a lower one.
type FenceAnswer struct {
	Role     Role  `json:"role"`
	Pending  bool  `json:"pending,omitempty"`
	Epoch    Epoch `json:"epoch"`
	LogEpoch Epoch `json:"log_epoch"`
	End      int64 `json:"end"`
	Durable  int64 `json:"durable"`
	// Promotable is false while the node can't become a primary whatever its log says: priority 0, never
	// synchronised, in a full copy, failed, disk full.
	Promotable bool   `json:"promotable"`
	Reason     string `json:"reason,omitempty"` // why not
	// Empty: the node holds no history of any primary; only the first primary of a shard may be such a node.
	Empty bool `json:"empty,omitempty"`
	// GrantAgeMs is filled in by the agent: how long ago this node last granted another one a failsafe
	// lease; the age of the agent if never.
	GrantAgeMs int64 `json:"grant_age_ms"`
}

// PeerKind is who is at the other end of an agent connection.
type PeerKind string

// The kinds of peers. Heartbeats go to dashboards only, and only their grants make a majority.
const (
	PeerDashboard PeerKind = "dashboard"
	PeerNode      PeerKind = "node"
)

// PeerHello is the first line on a connection, from the side that dialled.
type PeerHello struct {
	Protocol int      `json:"protocol"`
	Cluster  string   `json:"cluster"`
	Kind     PeerKind `json:"kind"`
	ID       string   `json:"id"` // of the dashboard or node
	Secret   string   `json:"secret,omitempty"`
}

// AgentHello answers a PeerHello. After an Error the agent closes the connection.
type AgentHello struct {
	Protocol int    `json:"protocol"`
	RunID    string `json:"run_id"`
	Version  string `json:"version"`
	LeaseMs  int64  `json:"lease_ms"` // length of the lease this node counts with
	Error    string `json:"error,omitempty"`
}

// Heartbeat goes to every connected dashboard at a fixed interval and after every change.
type Heartbeat struct {
	Seq    uint64     `json:"seq"`
	Report NodeReport `json:"report"`
}

// Grant answers a heartbeat: in Epoch the node may hold the lease, counted from when it sent Seq.
type Grant struct {
	Seq   uint64 `json:"seq"`
	Epoch Epoch  `json:"epoch"`
}

// Members tells a node the shard it is in. The nodes other than itself make the failsafe set; a majority
// of Dashboards makes the ordinary lease. A node ignores a revision that isn't newer.
type Members struct {
	Revision   uint64   `json:"revision"`
	Shard      ShardID  `json:"shard"`
	Self       NodeID   `json:"self"`
	Nodes      []Node   `json:"nodes"`
	Dashboards []string `json:"dashboards"`
}

// RequestOp names a request to a node.
type RequestOp string

// The requests. All are idempotent.
const (
	// OpStatus answers a Report.
	OpStatus RequestOp = "status"
	// OpMembers hands over Members.
	OpMembers RequestOp = "members"
	// OpFence promises Epoch; answers Fence.
	OpFence RequestOp = "fence"
	// OpOpen starts a reign in Epoch. Seq is the last heartbeat that the sender saw: the new lease counts
	// from when the node sent it, so an open that was under way for too long opens nothing.
	OpOpen RequestOp = "open"
	// OpFollow makes the node a replica of Addr in Epoch. This is also how a pending node is settled.
	OpFollow RequestOp = "follow"
	// OpPark stops new writes of a primary for at most TimeoutMs; answers Offset, the barrier.
	OpPark RequestOp = "park"
	// OpUnpark takes writes again.
	OpUnpark RequestOp = "unpark"
	// OpWait returns when everything up to Offset is applied and durable; answers Offset.
	OpWait RequestOp = "wait"
	// OpGrant asks a replica for its part of the failsafe lease of Node in Epoch.
	OpGrant RequestOp = "grant"
)

// Request is a question to a node. TimeoutMs bounds its execution there (the asker has its own deadline).
type Request struct {
	ID        uint64    `json:"id"`
	Op        RequestOp `json:"op"`
	Epoch     Epoch     `json:"epoch,omitempty"`
	Addr      string    `json:"addr,omitempty"`
	Node      NodeID    `json:"node,omitempty"`
	Offset    int64     `json:"offset,omitempty"`
	Seq       uint64    `json:"seq,omitempty"`
	TimeoutMs int64     `json:"timeout_ms,omitempty"`
	Members   *Members  `json:"members,omitempty"`
}

// AnswerCode classifies refusals that the asker decides on.
type AnswerCode string

// The codes.
const (
	CodeStaleEpoch AnswerCode = "stale-epoch" // the node has promised a higher epoch
	CodeWrongRole  AnswerCode = "wrong-role"  // the request makes no sense in the node's role
	CodeTimeout    AnswerCode = "timeout"
	CodeRefused    AnswerCode = "refused" // anything else; Text says what
)

// AnswerError is a refusal.
type AnswerError struct {
	Code AnswerCode `json:"code"`
	Text string     `json:"text"`
}

func (e *AnswerError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Text) }

// Answer is the reply to the request with the same ID.
type Answer struct {
	ID     uint64       `json:"id"`
	Error  *AnswerError `json:"error,omitempty"`
	Fence  *FenceAnswer `json:"fence,omitempty"`
	Offset int64        `json:"offset,omitempty"`
	Report *NodeReport  `json:"report,omitempty"`
}

// PeerFrame is one line towards a node: exactly one field is set.
type PeerFrame struct {
	Hello   *PeerHello `json:"hello,omitempty"`
	Grant   *Grant     `json:"grant,omitempty"`
	Request *Request   `json:"request,omitempty"`
}

// AgentFrame is one line from a node: exactly one field is set.
type AgentFrame struct {
	Hello     *AgentHello `json:"hello,omitempty"`
	Heartbeat *Heartbeat  `json:"heartbeat,omitempty"`
	Answer    *Answer     `json:"answer,omitempty"`
}
