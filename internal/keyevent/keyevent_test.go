package keyevent

import (
	"math/bits"
	"testing"
)

func TestParseAndString(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"KEA":            "AKE",
		"g$lshzxetd":     "A",
		"AKEm":           "AKEm",
		"mEKA":           "AKEm",
		"AnKE":           "AnKE",
		"nKg":            "gnK",
		"EE$$":           "$E",
		"dtexzhsl$":      "$lshzxetd",
		"dtexzhsl$gnKEm": "AnKEm",
	} {
		c, err := Parse(in)
		if err != nil || c.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, c, err, want)
		}
	}
	for _, bad := range []string{"q", "K E", "KEA\n", "a", "K\x00"} {
		if c, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %q", bad, c)
		}
	}
}

func TestWants(t *testing.T) {
	for _, c := range []struct {
		option string
		class  Class
		want   bool
	}{{"KA", Hash, true}, {"EA", Expired, true}, {"A", Hash, false}, {"KEA", Miss, false}, {"KEA", New, false},
		{"Km", Miss, true}, {"E", Hash, false}, {"", Hash, false}} {
		o, err := Parse(c.option)
		if err != nil {
			t.Fatal(err)
		}
		if o.Wants(c.class) != c.want {
			t.Errorf("option %q, class %v: %v", c.option, c.class, !c.want)
		}
	}
}

func TestChannels(t *testing.T) {
	if got := string(AppendKeyspace(nil, 12, []byte("a b"))); got != "__keyspace@12__:a b" {
		t.Error(got)
	}
	if got := string(AppendKeyevent([]byte("x"), 0, "hset")); got != "x__keyevent@0__:hset" {
		t.Error(got)
	}
}

// FuzzParse: what is read prints to something that reads the same, and no letter means two classes.
func FuzzParse(f *testing.F) {
	f.Add("AKE")
	f.Add("g$lshzxetdnm")
	f.Add("K E")
	f.Fuzz(func(t *testing.T, in string) {
		c, err := Parse(in)
		if err != nil {
			return
		}
		again, err := Parse(c.String())
		if err != nil || again != c {
			t.Fatalf("%q: %q reads as %q, %v", in, c, again, err)
		}
		if len(in) == 1 && in != "A" && bits.OnesCount32(uint32(c)) != 1 {
			t.Fatalf("%q means %b", in, c)
		}
	})
}
