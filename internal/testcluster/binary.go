package testcluster

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Binary returns the haypile binary under test: $HAYPILE_BIN, or one that is built from this repository at
// the first call. The test binaries of one machine share the build, which is up to date after the first of
// them; each has a link of its own to it, which RemoveBinary deletes.
func Binary() (string, error) {
	if path := os.Getenv("HAYPILE_BIN"); path != "" {
		return filepath.Abs(path)
	}
	return built()
}

var builtDir string

var built = sync.OnceValues(func() (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("haypile-test-bin-%d-%x", os.Getuid(), sha256.Sum256([]byte(root)))[:40]
	args := []string{"build"}
	if RaceEnabled {
		args = append(args, "-race")
		name += "-race"
	}
	shared := filepath.Join(os.TempDir(), name)
	if err := os.MkdirAll(shared, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(shared, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // and unlock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(shared, "haypile")
	cmd := exec.Command("go", append(args, "-o", path, "./cmd/haypile")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/haypile: %w\n%s", err, out)
	}
	if builtDir, err = os.MkdirTemp("", "haypile-bin-"); err != nil {
		return "", err
	}
	own := filepath.Join(builtDir, "haypile")
	return own, os.Link(path, own)
})

// RemoveBinary deletes this test binary's link to what Binary has built. For TestMain, after the tests.
func RemoveBinary() error {
	if builtDir == "" {
		return nil
	}
	return os.RemoveAll(builtDir)
}

// ModuleRoot is the directory of go.mod above the working directory.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && len(text) >= 14 && string(text[:14]) == "module haypile" && text[14] == '\n' {
			return dir, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", errors.New("not inside the haypile module: no go.mod above the working directory")
	}
}

// RedisServer returns the path of redis-server, or an error that says how to get it.
func RedisServer() (string, error) { return debianTool("redis-server", "redis-server") }

// debianTool finds an executable of a Debian package.
func debianTool(name, pkg string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is needed (apt-get install %s): %w", name, pkg, err)
	}
	return path, nil
}
