package acl

import (
	"errors"
	"fmt"
	"strings"
)

// FileError holds everything that is wrong with an ACL file.
type FileError struct{ Text string }

func (e *FileError) Error() string { return e.Text }

// ParseFile makes users of the text of an ACL file: all that it has, or an error that names each bad line. path
// is only for the error.
func (r Rules) ParseFile(path, text string) ([]*User, error) {
	var list []*User
	var bad strings.Builder
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(line, " \t\r\n")
		if line == "" {
			continue
		}
		words := strings.Split(line, " ")
		if words[0] != "user" || len(words) < 2 {
			fmt.Fprintf(&bad, "%s:%d should start with user keyword followed by the username. ", path, i+1)
			continue
		}
		name := words[1]
		if hasSpace(name) {
			fmt.Fprintf(&bad, "'%s:%d: username '%s' contains invalid characters. ", path, i+1, name)
			continue
		}
		if seen[name] {
			fmt.Fprintf(&bad, "WARNING: Duplicate user '%s' found on line %d. ", name, i+1)
			continue
		}
		seen[name] = true
		list = append(list, r.parseLine(&bad, path, i+1, name, words[2:]))
	}
	if bad.Len() > 0 {
		return nil, &FileError{bad.String() +
			"WARNING: ACL errors detected, no change to the previously active ACL rules was performed"}
	}
	return list, nil
}

// parseLine applies the rules of one line. An unknown command is told by name, for it holds no secret; of the
// other errors the first one of a line is told.
func (r Rules) parseLine(bad *strings.Builder, path string, n int, name string, words []string) *User {
	u := r.New(name)
	rules, open := Merge(words)
	if open >= 0 {
		fmt.Fprintf(bad, "%s:%d: Unmatched parenthesis in selector definition.", path, n)
		return u
	}
	told := false
	for _, rule := range rules {
		rule = strings.Trim(rule, "\t\r\n")
		err := r.apply(u, rule)
		switch {
		case errors.Is(err, errUnknown):
			fmt.Fprintf(bad, "%s:%d: Error in applying operation '%s': %s. ", path, n, rule, err)
		case err != nil && !told:
			fmt.Fprintf(bad, "%s:%d: %s. ", path, n, err)
			told = true
		}
	}
	return r.finish(u)
}

// FormatFile is the text of an ACL file with the users.
func FormatFile(list []*User) string {
	var b strings.Builder
	for _, u := range list {
		b.WriteString(u.Describe())
		b.WriteByte('\n')
	}
	return b.String()
}

// Configured makes users of the user lines of a configuration file: each the name and the rules. A line about
// the default user says all about it.
func (r Rules) Configured(lines [][]string) ([]*User, error) {
	var list []*User
	seen := map[string]bool{}
	for _, words := range lines {
		name := words[0]
		switch {
		case hasSpace(name):
			return nil, fmt.Errorf("Error in user declaration '%s': Usernames can't contain spaces or null characters", name)
		case seen[name]:
			return nil, fmt.Errorf("Error in user declaration '%s': Duplicate user found. A user can only be defined "+
				"once in config files", name)
		}
		seen[name] = true
		u, err := r.Apply(r.New(name), words[1:]...)
		if err != nil {
			reason := err
			rule, isRule := err, (*RuleError)(nil)
			if errors.As(rule, &isRule) {
				reason = isRule.Err
				if errors.Is(reason, errUnknown) { // no secret
					reason = fmt.Errorf("%s: %w", isRule.Rule, reason)
				}
			}
			return nil, fmt.Errorf("Error in user declaration '%s': %w", name, reason)
		}
		list = append(list, u)
	}
	return list, nil
}
