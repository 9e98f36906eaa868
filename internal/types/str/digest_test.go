package str

import "testing"

// Known values of XXH3 with 64 bits and no seed.
func TestDigest(t *testing.T) {
	for in, want := range map[string]string{
		"": "2d06800538d394c2", "a": "e6c632b61e964e1f", "abc": "78af5f94892f3950",
	} {
		d := NewDigester()
		for i := range in {
			d.Add([]byte(in[i : i+1]))
		}
		if got := string(d.Digest()); got != want {
			t.Errorf("digest of %q is %s, want %s", in, got, want)
		}
	}
}
