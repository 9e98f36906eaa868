package replication

import (
	"strings"
	"testing"
	"time"

	"haypile/internal/resp"
)

func TestInfo(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	feeds := []FeedInfo{
		{IP: "10.0.0.2", Port: 6380, State: FeedOnline, Acked: 300, Lag: 1500 * time.Millisecond},
		{IP: "10.0.0.3", Port: 6381, State: FeedWaitCheckpoint},
	}
	// Lines that most cases share.
	state := "master_failover_state:no-failover|master_replid:" + rid("b") + "|"
	alone := state + "master_replid2:" + rid("0") + "|master_repl_offset:320|second_repl_offset:-1|"
	backlog := "repl_backlog_active:1|repl_backlog_size:1024|" +
		"repl_backlog_first_byte_offset:1|repl_backlog_histlen:320|"
	for _, c := range []struct {
		name string
		view View
		want string
	}{
		{"primary", View{ReplID: rid("b"), LogEnd: 320, LogSize: 1024},
			"role:master|connected_slaves:0|" + alone + backlog},
		{"primary with replicas",
			View{ReplID: rid("b"), ReplID2: rid("a"), SecondOffset: 101, LogStart: 20, LogEnd: 320, LogSize: 1024,
				Replicas: feeds, MinReplicas: 1, MinReplicasMaxLag: 10 * time.Second},
			"role:master|connected_slaves:2|min_slaves_good_slaves:1|" +
				"slave0:ip=10.0.0.2,port=6380,state=online,offset=300,lag=1|" +
				"slave1:ip=10.0.0.3,port=6381,state=wait_bgsave,offset=0,lag=0|" + state +
				"master_replid2:" + rid("a") + "|master_repl_offset:320|second_repl_offset:101|" +
				"repl_backlog_active:1|repl_backlog_size:1024|" +
				"repl_backlog_first_byte_offset:21|repl_backlog_histlen:300|"},
		{"replica up",
			View{Now: now, Priority: 100, ReadOnly: true, Announced: true,
				ReplID: rid("b"), LogEnd: 320, LogSize: 1024,
				Link: &LinkStatus{Host: "10.0.0.1", Port: 6379, State: LinkConnected,
					LastIO: now.Add(-2 * time.Second), Read: 330}},
			"role:slave|master_host:10.0.0.1|master_port:6379|master_link_status:up|" +
				"master_last_io_seconds_ago:2|master_sync_in_progress:0|" +
				"slave_read_repl_offset:330|slave_repl_offset:320|" +
				"slave_priority:100|slave_read_only:1|replica_announced:1|connected_slaves:0|" + alone + backlog},
		{"replica down",
			View{Now: now, Priority: 100, ReplID: rid("b"), LogEnd: 320, LogSize: 1024,
				Link: &LinkStatus{Host: "10.0.0.1", Port: 6379, State: LinkConnecting,
					DownSince: now.Add(-7 * time.Second)}},
			"role:slave|master_host:10.0.0.1|master_port:6379|master_link_status:down|" +
				"master_last_io_seconds_ago:-1|master_sync_in_progress:0|" +
				"slave_read_repl_offset:320|slave_repl_offset:320|master_link_down_since_seconds:7|" +
				"slave_priority:100|slave_read_only:0|replica_announced:0|connected_slaves:0|" + alone + backlog},
		{"replica in its first full sync",
			View{Now: now, Priority: 100, NeverSynced: true,
				Link: &LinkStatus{Host: "h", Port: 1, State: LinkSync, DownSince: now, LastIO: now,
					SyncTotal: 3000, SyncRead: 1000}},
			"role:slave|master_host:h|master_port:1|master_link_status:down|" +
				"master_last_io_seconds_ago:-1|master_sync_in_progress:1|" +
				"slave_read_repl_offset:0|slave_repl_offset:0|" +
				"master_sync_total_bytes:3000|master_sync_read_bytes:1000|master_sync_left_bytes:2000|" +
				"master_sync_perc:33.33|master_sync_last_io_seconds_ago:0|" +
				"master_link_down_since_seconds:2147483647|" +
				"slave_priority:0|slave_read_only:0|replica_announced:0|connected_slaves:0|" +
				"master_failover_state:no-failover|master_replid:" + rid("0") + "|master_replid2:" + rid("0") +
				"|master_repl_offset:0|second_repl_offset:-1|" +
				"repl_backlog_active:0|repl_backlog_size:0|repl_backlog_first_byte_offset:1|repl_backlog_histlen:0|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.ReplaceAll(string(c.view.AppendInfo(nil)), "\r\n", "|")
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", strings.ReplaceAll(got, "|", "\n"), strings.ReplaceAll(c.want, "|", "\n"))
			}
		})
	}
	unfit := View{Now: now, Priority: 100, Unfit: true,
		Link: &LinkStatus{Host: "h", Port: 1, State: LinkConnected, LastIO: now}}
	if text := string(unfit.AppendInfo(nil)); !strings.Contains(text, "slave_priority:0\r\n") {
		t.Errorf("unfit: %s", text)
	}
}

func TestRole(t *testing.T) {
	for _, c := range []struct {
		name string
		view View
		want string
	}{
		{"primary", View{LogEnd: 20, Replicas: []FeedInfo{
			{IP: "a", Port: 1, State: FeedOnline, Acked: 12}, {State: FeedSendFiles}}},
			"*3|$6|master|:20|*1|*3|$1|a|$1|1|$2|12|"},
		{"replica up", View{LogEnd: 20, Link: &LinkStatus{Host: "h", Port: 7, State: LinkConnected}},
			"*5|$5|slave|$1|h|:7|$9|connected|:20|"},
		{"replica down", View{LogEnd: 20, Link: &LinkStatus{Host: "h", Port: 7, State: LinkConnect}},
			"*5|$5|slave|$1|h|:7|$7|connect|:-1|"},
	} {
		w := resp.Writer{Proto: 2}
		c.view.WriteRole(&w)
		if got := strings.ReplaceAll(string(w.Buf), "\r\n", "|"); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
