package coordinator

import "testing"

func FuzzParseSlots(f *testing.F) {
	for _, s := range []string{"", "0-16383", "1,2,3-4", "5-4", "16384", "-1", " 7 , 8", "0-0-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rs, err := ParseSlots(s)
		if err != nil {
			return
		}
		for _, r := range rs {
			if r.First > r.Last || r.Last > 16383 {
				t.Fatalf("%q gave %v", s, rs)
			}
		}
	})
}
