package encoding

import "testing"

// The rows of libraries are permanent.
func TestLibraryRows(t *testing.T) {
	if got := string(AppendLibrary(nil, []byte("lib"))); got != "\x00flib" {
		t.Errorf("%q", got)
	}
	if got := string(LibrariesRow); got != "\x00v" {
		t.Errorf("%q", got)
	}
}
