package server

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"haypile/internal/acl"
	"haypile/internal/commands"
	"haypile/internal/option"
)

// maxACLFile is the longest ACL file that is read, in bytes.
const maxACLFile = 16 << 20

// loadUsers makes the users of the options, and of the user lines or of the ACL file. A node with a user that it
// can't understand does not start.
func (s *Server) loadUsers() error {
	s.users = acl.NewUsers(acl.Rules{Table: s.table})
	s.users.SetDefaultPassword(s.cfg.String(option.RequirePass))
	s.cfg.OnChange(func(v *option.View) { s.users.SetDefaultPassword(v.String(option.RequirePass)) }, option.RequirePass)
	s.cfg.SetUserSource(s.userLines)
	path := s.cfg.String(option.ACLFile)
	switch {
	case path == "" && len(s.cfg.Users()) == 0:
		return nil
	case path != "" && len(s.cfg.Users()) > 0:
		return errors.New("users are declared in the configuration file and in the file that the option aclfile " +
			"names: only one of them may")
	}
	rules := acl.Rules{Table: s.table, AllChannels: s.cfg.Enum(option.ACLPubSubDefault) == option.ACLPubSubAll}
	var list []*acl.User
	var err error
	keep := s.users.Default().User()
	if path == "" {
		list, err = rules.Configured(s.cfg.Users())
	} else {
		list, err = commands.ReadACLFile(node{s}, path)
		keep = nil // as ACL LOAD
	}
	if err != nil {
		return err
	}
	for _, u := range list {
		if !u.Enabled() {
			s.log.Warn("a user of the configuration is off", "user", u.Name())
		}
		if u.Name() == acl.DefaultName {
			keep = nil
		}
	}
	if keep != nil {
		list = append(list, keep)
	}
	s.users.Replace(list)
	return nil
}

// userLines are the user lines that CONFIG REWRITE writes: none if there is an ACL file, and none about a default
// user that is what requirepass alone makes, so that the option goes on to mean what it says.
func (s *Server) userLines() []string {
	if s.cfg.String(option.ACLFile) != "" {
		return nil
	}
	plain := acl.NewUsers(acl.Rules{Table: s.table})
	plain.SetDefaultPassword(s.cfg.String(option.RequirePass))
	var lines []string
	for _, u := range s.users.List() {
		if u.Name() != acl.DefaultName || u.Describe() != plain.Default().User().Describe() {
			lines = append(lines, u.ConfigLine())
		}
	}
	return lines
}

// Users are the accounts.
func (n node) Users() *acl.Users { return n.users }

// ACLLog is the log of refusals.
func (n node) ACLLog() *acl.Log { return &n.aclLog }

// ReadFile reads an ACL file.
func (n node) ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxACLFile+1))
	if err == nil && len(text) > maxACLFile {
		err = errors.New("the file is too long")
	}
	return text, err
}

// ReplaceFile writes an ACL file. A new one is its owner's alone, for it holds what passwords can be guessed
// from; a link stays one.
func (n node) ReplaceFile(path string, data []byte) error {
	mode := fs.FileMode(0o600)
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	err := option.ReplaceFile(path, string(data), mode)
	if err != nil {
		n.log.Error("saving the users", "file", path, "err", err)
	}
	return err
}
