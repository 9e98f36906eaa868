package replication

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"haypile/internal/replog"
)

// rid makes a replication id out of a digit.
func rid(c string) string { return strings.Repeat(c, 40) }

// lineage reads "1@0 2@100": reigns with ids made of the digit, and their starts.
func lineage(s string) []replog.ReignRecord {
	var out []replog.ReignRecord
	for _, f := range strings.Fields(s) {
		var id, start int
		if n, err := fmt.Sscanf(f, "%d@%d", &id, &start); n != 2 {
			panic(err)
		}
		out = append(out, replog.ReignRecord{Epoch: uint64(id), ReplID: rid(fmt.Sprint(id)),
			Start: replog.Offset(start)})
	}
	return out
}

// decisions has a case per line: name | local lineage and log | what the replica says | verdict.
//
// Lineages are "<id>@<start>". "log a-b" are the local log's bounds, "as replica" its role if not primary;
// the local node is "me" at epoch 5 with file format 1. A Haypile replica shows its lineage, a Redis names an
// "id"; "from" is the offset asked for, none for a full sync. The verdict is followed by the offset, or by
// words of the reason.
const decisions = `
up to date                    | 1@0 log 0-100          | 1@0 from 100            | continue 100
behind                        | 1@0 log 0-100          | 1@0 from 40             | continue 40
at the log's start            | 1@0 log 50-100         | 1@0 from 50             | continue 50
before the log's start        | 1@0 log 50-100         | 1@0 from 49             | full-files: starts at 50
has data, wants a full sync   | 1@0 log 0-100          | 9@0                     | full-files: asked for it
another file format           | 1@0 log 0-100          | 9@0 format 2            | full-rdb: asked for it
before the fork               | 1@0 2@60 log 0-100     | 1@0 from 50             | continue 50
at the fork                   | 1@0 2@60 log 0-100     | 1@0 from 60             | continue 60
surplus                       | 1@0 2@60 log 0-100     | 1@0 from 61             | diverged 60
surplus, fork trimmed         | 1@0 2@60 log 70-100    | 1@0 from 90             | full-files: before the log
both reigned                  | 1@0 2@60 log 0-100     | 1@0 3@50 from 55        | diverged 50
both reigned, nothing written | 1@0 2@60 log 0-100     | 1@0 3@50 from 50        | continue 50
three reigns back             | 1@0 2@60 3@70 4@80 log 0-100 | 1@0 from 60             | continue 60
oldest reign forgotten        | 2@60 3@70 log 0-100    | 1@0 2@60 from 70        | continue 70
lacks bytes of known reigns   | 1@0 4@60 log 0-100     | 1@0 2@100 3@200 from 50 | continue 50
strangers                     | 1@0 log 0-100          | 2@0 from 10             | full-files: no reign
ahead of a primary            | 1@0 log 0-100          | 1@0 from 120            | diverged 100
ahead of a replica            | 1@0 log 0-100 as replica | 1@0 from 120            | refuse: NOMASTERLINK
ahead of a replica, forked    | 1@0 2@60 log 0-80 as replica | 1@0 from 90             | diverged 60
tail differs                  | 1@0 log 0-100          | 1@0 from 100 tail 8     | full-files: differ
promised a higher epoch       | 1@0 log 0-100          | 1@0 from 100 epoch 9    | refuse: STALEEPOCH
itself                        | 1@0 log 0-100          | 1@0 from 100 node me    | refuse: itself
no history here               | log 0-0                | 1@0 from 100            | refuse: NOMASTERLINK
redis, first time             | 1@0 log 0-100          |                         | full-rdb: asked for it
redis, up to date             | 1@0 log 0-100          | id 1 from 100           | continue 100
redis, at the fork            | 1@0 2@60 log 0-100     | id 1 from 60            | continue 60
redis, surplus                | 1@0 2@60 log 0-100     | id 1 from 61            | full-rdb: ends at 60
redis, ahead                  | 1@0 log 0-100          | id 1 from 101           | full-rdb: ends at 100
redis, unknown id             | 1@0 log 0-100          | id 5 from 10            | full-rdb: not of this
redis, trimmed                | 1@0 log 20-100         | id 1 from 10            | full-rdb: starts at 20
`

func TestDecide(t *testing.T) {
	const goodTail = 7
	for _, line := range strings.Split(strings.TrimSpace(decisions), "\n") {
		cols := strings.Split(line, "|")
		t.Run(strings.TrimSpace(cols[0]), func(t *testing.T) {
			local := Local{Primary: true, Node: "me", Epoch: 5, Format: 1,
				SumBefore: func(_ replog.Offset, n int) (uint32, int, error) { return goodTail, n, nil }}
			reigns, words := splitCase(cols[1])
			local.Reigns = lineage(reigns)
			if _, err := fmt.Sscanf(words["log"], "%d-%d", &local.Start, &local.End); err != nil {
				t.Fatal(err)
			}
			local.Primary = words["as"] != "replica"

			req := Request{From: -1}
			reigns, words = splitCase(cols[2])
			number := func(name string, def int) int {
				if n, err := strconv.Atoi(words[name]); err == nil {
					return n
				}
				return def
			}
			req.From = replog.Offset(number("from", -1))
			if id, ok := words["id"]; ok {
				req.ReplID = rid(id)
			}
			if reigns != "" {
				req.Hello = &Hello{Version: 1, Format: number("format", 1), Node: words["node"],
					Epoch: uint64(number("epoch", 0)), Reigns: lineage(reigns),
					Tail: &Tail{Len: 4, CRC: uint32(number("tail", goodTail))}}
			}

			d := Decide(req, local)
			got := fmt.Sprintf("%v %d", d.Verdict, d.From)
			want, because, isReason := strings.Cut(strings.TrimSpace(cols[3]), ": ")
			if isReason {
				got = d.Verdict.String()
			}
			if got != want || !strings.Contains(d.Reason, because) {
				t.Fatalf("got %q (%s), want %s", got, d.Reason, cols[3])
			}
			if d.Verdict == Continue && d.ReplID != local.Reigns[len(local.Reigns)-1].ReplID {
				t.Fatalf("continues with id %s", d.ReplID)
			}
			if (d.HigherEpoch != 0) != (words["epoch"] != "") {
				t.Fatalf("higher epoch %d", d.HigherEpoch)
			}
		})
	}
}

// splitCase takes a lineage apart from the "name value" pairs behind it.
func splitCase(s string) (reigns string, words map[string]string) {
	words = map[string]string{}
	fields := strings.Fields(s)
	for i := 0; i < len(fields); i++ {
		if strings.Contains(fields[i], "@") {
			reigns += fields[i] + " "
			continue
		}
		words[fields[i]] = fields[i+1]
		i++
	}
	return reigns, words
}

func TestReplconf(t *testing.T) {
	fs := NewFeeds(&testNode{}, DefaultOptions(), discard)
	defer fs.Close()
	args := func(s string) (out [][]byte) {
		for _, w := range strings.Fields(s) {
			out = append(out, []byte(w))
		}
		return out
	}
	var h Handshake
	for _, c := range []struct{ line, want string }{
		{"REPLCONF listening-port 6380", "+OK\r\n"},
		{"REPLCONF Listening-Port x", "-ERR value is not an integer or out of range\r\n"},
		{"REPLCONF ip-address 10.0.0.7", "+OK\r\n"},
		{"REPLCONF capa eof capa psync2 capa haypile1 capa whatever", "+OK\r\n"},
		{"REPLCONF version 8.0.1", "+OK\r\n"},
		{"REPLCONF listening-port", "-ERR syntax error\r\n"},
		{"REPLCONF ACK 12", ""},
		{"REPLCONF rdb-channel 1", "-ERR Unrecognized REPLCONF option: rdb-channel\r\n"},
		{"REPLCONF haypile {", "-ERR decoding the hello: unexpected end of JSON input\r\n"},
		{`REPLCONF haypile {"v":1,"reigns":[{"replid":"zz","start":0}]}`,
			"-ERR hello with the reign \"zz\" at 0\r\n"},
	} {
		if got := string(fs.Replconf(nil, &h, args(c.line))); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	if h.Port != 6380 || h.IP != "10.0.0.7" || !h.EOF || !h.PSYNC2 || h.Hello != nil {
		t.Errorf("handshake %+v", h)
	}
	got := fs.Replconf(nil, &h, args(`REPLCONF haypile {"v":1,"format":1,"node":"n2"}`))
	if !bytes.HasPrefix(got, []byte("$")) || h.Hello == nil || h.Hello.Node != "n2" {
		t.Errorf("hello: %q, %+v", got, h.Hello)
	}
}

func TestParsePSYNC(t *testing.T) {
	for line, want := range map[string]Request{
		"SYNC":                               {From: -1},
		"PSYNC ? -1":                         {From: -1},
		"psync " + rid("a") + " 1":           {ReplID: rid("a"), From: 0},
		"PSYNC " + rid("a") + " 57":          {ReplID: rid("a"), From: 56},
		"PSYNC " + rid("a") + " 57 FAILOVER": {ReplID: rid("a"), From: 56},
		"PSYNC " + rid("a") + " -1":          {From: -1},
	} {
		got, err := ParsePSYNC(bytes.Fields([]byte(line)), new(Handshake))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"PSYNC", "PSYNC ?", "PSYNC ? x"} {
		if _, err := ParsePSYNC(bytes.Fields([]byte(line)), new(Handshake)); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}

func TestParsePsyncAnswer(t *testing.T) {
	for line, want := range map[string]psyncAnswer{
		"+CONTINUE":                        {kind: answerContinue},
		"+CONTINUE " + rid("b"):            {kind: answerContinue, replID: rid("b")},
		"+FULLRESYNC " + rid("b") + " 77":  {kind: answerFull, replID: rid("b"), offset: 77},
		"-DIVERGED 12 histories part here": {kind: answerDiverged, offset: 12},
	} {
		got, err := parsePsyncAnswer([]byte(line))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{" ", "-ERR x", "+CONTINUE zz", "+FULLRESYNC " + rid("b"), "+FULLRESYNC x 1",
		"+FULLRESYNC " + rid("b") + " -1", "-DIVERGED", "-DIVERGED x", "-LOADING y", "$100"} {
		if a, err := parsePsyncAnswer([]byte(line)); err == nil {
			t.Errorf("%s: %+v", line, a)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add([]byte(`{"v":1,"format":1,"node":"n","epoch":3,` +
		`"reigns":[{"epoch":1,"replid":"` + rid("a") + `","start":5}],"tail":{"len":3,"crc":9}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			return
		}
		for _, r := range h.Reigns {
			if !replog.ValidReplID(r.ReplID) || r.Start < 0 {
				t.Fatalf("accepted the reign %+v", r)
			}
		}
		local := Local{Primary: true, Reigns: lineage("1@0 2@50"), End: 100}
		d := Decide(Request{ReplID: rid("1"), From: 70, Hello: h}, local)
		if d.Verdict == Continue && d.From != 70 {
			t.Fatalf("continues at %d", d.From)
		}
	})
}
