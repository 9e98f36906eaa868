package testcluster

import (
	"os"
	"testing"
)

// Run starts a process for a test: it is killed when the test ends, and its log printed if the test failed.
func Run(t testing.TB, spec Spec) *Process {
	t.Helper()
	p, err := Launch(spec)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.LogTail())
		}
		if p.Alive() {
			_ = p.Kill()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// RunRedis starts a real redis-server for a test. Where it is not installed the test is skipped, except
// in CI (CI=true), where that is a failure: there the reference is required.
func RunRedis(t testing.TB, args ...string) *Process {
	t.Helper()
	RequireRedis(t)
	spec, err := RedisSpec(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return Run(t, spec)
}

// RequireRedis skips or, in CI, fails the test if there is no redis-server.
func RequireRedis(t testing.TB) {
	t.Helper()
	if _, err := RedisServer(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// RunServer starts a `haypile server` for a test.
func RunServer(t testing.TB, args ...string) *Process {
	t.Helper()
	spec, err := ServerSpec(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return Run(t, spec)
}

// Main is the TestMain of packages that use Binary: it deletes what was built.
func Main(m *testing.M) {
	code := m.Run()
	_ = RemoveBinary()
	os.Exit(code)
}
