package exec

import (
	"haypile/internal/acl"
	"haypile/internal/command"
	"haypile/internal/commands"
	"haypile/internal/resp"
)

// permit asks access control about a call of a user who may not do everything. A refusal is kept until
// logDenied notes it, because TryDo's may be asked for again.
func (s *Session) permit(a *acl.Account, c *commands.Command, args [][]byte) commands.Error {
	u := a.User()
	if a.Gone() && c.Flags&command.NoAuth == 0 {
		return resp.ErrNoAuth // the connection is about to be closed
	}
	s.denied = u.Allowed(&c.Spec, args)
	switch s.denied.Denied {
	case acl.Allowed:
		return ""
	case acl.DeniedKey:
		return resp.ErrNoPermKey
	case acl.DeniedChannel:
		return resp.ErrNoPermChannel
	}
	return commands.Error(resp.NoPermCommand(u.Name(), c.FullName()))
}

// logDenied puts the last refusal of permit, if there is one, into the log.
func (s *Session) logDenied(c *commands.Command, args [][]byte, context string) {
	v := s.denied
	if v.OK() {
		return
	}
	s.denied = acl.Verdict{}
	object := c.FullName()
	if v.Denied != acl.DeniedCommand {
		object = string(args[v.Pos])
	}
	commands.LogRefusal(s.x.Node, s.Client, c, acl.Entry{Reason: v.Denied, Context: context, Object: object,
		User: s.Client.UserName()})
}

// context is where the session's present call stands, for the log.
func (s *Session) context() string {
	if s.multi.on {
		return commands.ContextMulti
	}
	return commands.ContextTop
}

// Why EXEC skips a command, for resp.NoPermExec.
var lostRights = map[acl.Denied]string{
	acl.DeniedCommand: "no permission to execute the command or subcommand",
	acl.DeniedKey:     "no permission to touch the specified keys",
	acl.DeniedChannel: "no permission to access one of the channels used as arguments",
}

// permitQueued asks again at EXEC, for rights may have been taken away since the command was queued. It answers
// and returns false if they have.
func (s *Session) permitQueued(q queued) bool {
	a := s.Client.Account()
	if a == nil || a.User().All() || s.permit(a, q.cmd, q.args) == "" {
		return true
	}
	reason := lostRights[s.denied.Denied]
	if reason == "" {
		reason = lostRights[acl.DeniedCommand] // the account is gone
	}
	s.logDenied(q.cmd, q.args, commands.ContextMulti)
	q.cmd.Stats.Rejected.Add(1)
	s.fail(commands.Error(resp.NoPermExec(reason)))
	return false
}

// refuseAgain asks again when a command that has waited for a key runs: rights may have been taken away since it
// began to wait, and then it takes nothing. It answers and returns true if they have.
func (s *Session) refuseAgain(cmd *commands.Command, args [][]byte) bool {
	a := s.Client.Account()
	if a == nil || a.User().All() {
		return false
	}
	refusal := s.permit(a, cmd, args)
	if refusal == "" {
		return false
	}
	s.logDenied(cmd, args, commands.ContextTop)
	cmd.Stats.Rejected.Add(1)
	s.fail(refusal)
	return true
}

// LoginNeeded reports whether the connection has to log in before it may do more.
func (s *Session) LoginNeeded() bool { return !s.Client.Authenticated && !s.x.Node.Users().Open() }
