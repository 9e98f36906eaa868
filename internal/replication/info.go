package replication

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"haypile/internal/replog"
	"haypile/internal/resp"
)

// View is everything that INFO replication and ROLE show, taken at one moment. A node that is a replica
// always has Link's Host and Port set: an INFO that says role:slave without them crashes Sentinel, so the
// role and the address live in one value that is filled in whole.
type View struct {
	Now time.Time
	// Link is nil on a primary.
	Link *LinkStatus
	// Priority, ReadOnly and Announced are the replica's options; Unfit hides the priority: the node must
	// not be promoted now (never synced, in a full sync, storage error, wrong epoch).
	Priority  int
	ReadOnly  bool
	Announced bool
	Unfit     bool
	// NeverSynced tells that the node holds no history yet.
	NeverSynced bool

	Replicas []FeedInfo
	// MinReplicas and MinReplicasMaxLag are the options min-replicas-to-write and -max-lag.
	MinReplicas       int
	MinReplicasMaxLag time.Duration
	FailoverState     string

	// ReplID is the present id, ReplID2 the one before it (empty if there is none), valid up to SecondOffset,
	// which is -1 if there is none.
	ReplID, ReplID2 string
	SecondOffset    replog.Offset
	// LogStart and LogEnd are the log's bounds, LogSize the bytes that it may keep.
	LogStart, LogEnd replog.Offset
	LogSize          int64
}

const (
	// neverSeconds is what master_link_down_since_seconds says of a link that was never up. Redis says -1,
	// which Sentinel takes for "not down at all" and lets an empty replica be promoted.
	neverSeconds = math.MaxInt32
)

// GoodReplicas counts the online replicas whose last acknowledgement is not older than maxLag.
func GoodReplicas(replicas []FeedInfo, maxLag time.Duration) int {
	n := 0
	for _, r := range replicas {
		if r.State == FeedOnline && r.Lag <= maxLag {
			n++
		}
	}
	return n
}

// AppendInfo appends the body of INFO's section "Replication", without its heading, in the lines and the
// order of Redis 7.2. Sentinel reads role first and needs the lines of a replica behind it.
func (v *View) AppendInfo(dst []byte) []byte {
	if v.Link == nil {
		dst = append(dst, "role:master\r\n"...)
	} else {
		dst = v.appendReplica(dst)
	}
	dst = fmt.Appendf(dst, "connected_slaves:%d\r\n", len(v.Replicas))
	if v.MinReplicas > 0 && v.MinReplicasMaxLag > 0 {
		dst = fmt.Appendf(dst, "min_slaves_good_slaves:%d\r\n", GoodReplicas(v.Replicas, v.MinReplicasMaxLag))
	}
	for i, r := range v.Replicas {
		dst = fmt.Appendf(dst, "slave%d:ip=%s,port=%d,state=%s,offset=%d,lag=%d\r\n",
			i, r.IP, r.Port, r.State, r.Acked, int64(r.Lag/time.Second))
	}
	state := v.FailoverState
	if state == "" {
		state = "no-failover"
	}
	id, id2, second := v.ReplID, v.ReplID2, int64(v.SecondOffset)
	if id == "" {
		id = replog.NoReplID // a node that waits for its first full sync
	}
	if id2 == "" || id2 == replog.NoReplID {
		id2, second = replog.NoReplID, -1
	}
	active := 0
	if v.LogSize > 0 {
		active = 1
	}
	dst = fmt.Appendf(dst, "master_failover_state:%s\r\nmaster_replid:%s\r\nmaster_replid2:%s\r\n"+
		"master_repl_offset:%d\r\nsecond_repl_offset:%d\r\n", state, id, id2, v.LogEnd, second)
	return fmt.Appendf(dst, "repl_backlog_active:%d\r\nrepl_backlog_size:%d\r\n"+
		"repl_backlog_first_byte_offset:%d\r\nrepl_backlog_histlen:%d\r\n",
		active, v.LogSize, v.LogStart+1, v.LogEnd-v.LogStart)
}

// appendReplica appends the lines that only a replica has.
func (v *View) appendReplica(dst []byte) []byte {
	l := v.Link
	up := l.State == LinkConnected
	status, lastIO, syncing := "down", int64(-1), 0
	if up {
		status, lastIO = "up", seconds(v.Now, l.LastIO)
	}
	if l.State == LinkSync {
		syncing = 1
	}
	dst = fmt.Appendf(dst, "role:slave\r\nmaster_host:%s\r\nmaster_port:%d\r\nmaster_link_status:%s\r\n"+
		"master_last_io_seconds_ago:%d\r\nmaster_sync_in_progress:%d\r\n"+
		"slave_read_repl_offset:%d\r\nslave_repl_offset:%d\r\n",
		l.Host, l.Port, status, lastIO, syncing, max(l.Read, v.LogEnd), v.LogEnd)
	if syncing == 1 {
		dst = fmt.Appendf(dst, "master_sync_total_bytes:%d\r\nmaster_sync_read_bytes:%d\r\n"+
			"master_sync_left_bytes:%d\r\nmaster_sync_perc:%s\r\nmaster_sync_last_io_seconds_ago:%d\r\n",
			l.SyncTotal, l.SyncRead, l.SyncTotal-l.SyncRead, perc(l.SyncRead, l.SyncTotal), seconds(v.Now, l.LastIO))
	}
	if !up {
		down := seconds(v.Now, l.DownSince)
		if v.NeverSynced {
			down = neverSeconds
		}
		dst = fmt.Appendf(dst, "master_link_down_since_seconds:%d\r\n", down)
	}
	priority := v.Priority
	if v.Unfit || v.NeverSynced || l.State == LinkSync || l.Halted {
		priority = 0
	}
	return fmt.Appendf(dst, "slave_priority:%d\r\nslave_read_only:%d\r\nreplica_announced:%d\r\n",
		priority, bit(v.ReadOnly), bit(v.Announced))
}

// seconds is the whole seconds from t to now, at least 0.
func seconds(now, t time.Time) int64 { return max(int64(now.Sub(t)/time.Second), 0) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// WriteRole writes the reply to ROLE.
func (v *View) WriteRole(w *resp.Writer) {
	if l := v.Link; l != nil {
		off := int64(-1)
		if l.State == LinkConnected {
			off = int64(v.LogEnd)
		}
		w.Array(5)
		w.BulkString("slave")
		w.BulkString(l.Host)
		w.Int(int64(l.Port))
		w.BulkString(string(l.State))
		w.Int(off)
		return
	}
	w.Array(3)
	w.BulkString("master")
	w.Int(int64(v.LogEnd))
	online := make([]FeedInfo, 0, len(v.Replicas))
	for _, r := range v.Replicas {
		if r.State == FeedOnline {
			online = append(online, r)
		}
	}
	w.Array(len(online))
	for _, r := range online {
		w.Array(3)
		w.BulkString(r.IP)
		w.BulkString(strconv.Itoa(r.Port))
		w.BulkString(strconv.FormatInt(int64(r.Acked), 10))
	}
}
