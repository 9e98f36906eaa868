package resp

import (
	"fmt"
	"strings"
)

// The error replies of the product, each declared once. Texts are those of Redis 7.2 word for word, because
// clients and tools compare them; what Redis does not know stands at the end. They carry their code word and
// no leading '-'. Texts of single command families stand in errors_types.go.

// Replies of admission: the connection, the server's state, the transaction.
const (
	ErrNoAuth      = "NOAUTH Authentication required."
	ErrHelloNoAuth = "NOAUTH HELLO must be called with the client already authenticated, otherwise the " +
		"HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the " +
		"RESP protocol version at the same time"
	ErrWrongPass     = "WRONGPASS invalid username-password pair or user is disabled."
	ErrNoPasswordSet = "ERR AUTH <password> called without any password configured for the " +
		"default user. Are you sure your configuration is correct?"
	ErrNoProto         = "NOPROTO unsupported protocol version"
	ErrProtoNotInteger = "ERR Protocol version is not an integer or out of range"
	ErrNoPermKey       = "NOPERM No permissions to access a key"
	ErrNoPermChannel   = "NOPERM No permissions to access a channel"
	ErrMaxClients      = "ERR max number of clients reached"
	ErrClientName      = "ERR Client names cannot contain spaces, newlines or special characters."
	ErrNoSuchClient    = "ERR No such client"
	ErrInvalidClientID = "ERR Invalid client ID"
	ErrUnblocked       = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
	// ErrUnblockedRole goes to clients that wait in a blocking command when the node becomes a replica.
	ErrUnblockedRole = "UNBLOCKED force unblock from blocking operation, instance state changed " +
		"(master -> replica?)"

	ErrLoading    = "LOADING Redis is loading the dataset in memory"
	ErrMasterDown = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
	ErrReadOnly   = "READONLY You can't write against a read only replica."
	ErrNoReplicas = "NOREPLICAS Not enough good replicas to write."
	ErrOOM        = "OOM command not allowed when used memory > 'maxmemory'."
	ErrBusyScript = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
	// ErrReplicaKeys refuses commands on keys that come from a replica on its replication connection.
	ErrReplicaKeys = "ERR Replica can't interact with the keyspace"

	ErrNestedMulti     = "ERR MULTI calls can not be nested"
	ErrDiscardNoMulti  = "ERR DISCARD without MULTI"
	ErrExecNoMulti     = "ERR EXEC without MULTI"
	ErrWatchInMulti    = "ERR WATCH inside MULTI is not allowed"
	ErrExecAbort       = "EXECABORT Transaction discarded because of previous errors."
	ErrNotInMulti      = "ERR Command not allowed inside a transaction"
	ErrCrossSlot       = "CROSSSLOT Keys in request don't hash to the same slot"
	ErrClusterDown     = "CLUSTERDOWN Hash slot not served"
	ErrTryAgain        = "TRYAGAIN Multiple keys request during rehashing of slot"
	ErrClusterDisabled = "ERR This instance has cluster support disabled"

	ErrNoMasterLink       = "NOMASTERLINK Can't SYNC while not connected with my master"
	ErrFailoverInProgress = "INPROG Failover already in progress"
	ErrWaitOnReplica      = "ERR WAIT cannot be used with replica instances. Please also note " +
		"that since Redis 4.0 if a replica is configured to be writable (which is not the default) " +
		"writes to replicas are just local and are not propagated."
	ErrMasterPort   = "ERR Invalid master port"
	ErrNoSuchMaster = "ERR No such master with that name" // Sentinel's

	ErrSaveInProgress = "ERR Background save already in progress"
	ErrNoConfigFile   = "ERR The server is running without a config file"
	ErrConfigRewrite  = "ERR Rewriting config file: "
)

// Replies about arguments that any command can give.
const (
	ErrSyntax          = "ERR syntax error"
	ErrWrongType       = "WRONGTYPE Operation against a key holding the wrong kind of value"
	ErrNotInteger      = "ERR value is not an integer or out of range"
	ErrNotFloat        = "ERR value is not a valid float"
	ErrOutOfRange      = "ERR value is out of range"
	ErrNotPositive     = "ERR value is out of range, must be positive"
	ErrIndexRange      = "ERR index out of range"
	ErrNoSuchKey       = "ERR no such key"
	ErrSameObject      = "ERR source and destination objects are the same"
	ErrBusyKey         = "BUSYKEY Target key name already exists."
	ErrInvalidCursor   = "ERR invalid cursor"
	ErrDBIndexInvalid  = "ERR invalid DB index" // up to Redis 6.0; SELECT and COPY now say ErrNotInteger
	ErrDBIndexRange    = "ERR DB index is out of range"
	ErrFirstDBIndex    = "ERR invalid first DB index"
	ErrSecondDBIndex   = "ERR invalid second DB index"
	ErrTimeoutInteger  = "ERR timeout is not an integer or out of range"
	ErrTimeoutFloat    = "ERR timeout is not a float or out of range"
	ErrTimeoutNegative = "ERR timeout is negative"
	ErrTimeoutRange    = "ERR timeout is out of range"
	ErrNumKeys         = "ERR numkeys should be greater than 0"
	ErrTooManyKeys     = "ERR Number of keys can't be greater than number of args"
	ErrCountNegative   = "ERR COUNT can't be negative"
	ErrCountZero       = "ERR count should be greater than 0"
	ErrLimitNegative   = "ERR LIMIT can't be negative"
)

// Replies that Redis does not have.
const (
	// ErrOutcomeUnknown: the connection that carried a write broke before its reply. It is never sent again.
	ErrOutcomeUnknown = "UNKNOWNOUTCOME The connection to the node broke before it replied. The " +
		"command may or may not have been executed."
	// ErrSwitching: a request that waited for a change of primary or of a slot's owner waited too long.
	ErrSwitching = "TRYAGAIN The shard is changing its primary or its slots. Nothing was executed."
	// ErrNoBackend: nothing was sent, because no node could be reached.
	ErrNoBackend = "CLUSTERDOWN The node that serves the slot cannot be reached. Nothing was executed."
	// ErrLeaseLost: a managed primary that nobody confirms any more does not acknowledge.
	ErrLeaseLost = "READONLY The primary has lost its lease and does not accept writes."
)

// WrongArity refuses the number of arguments of a command; name is the full name in lower case
// ("get", "config|get").
func WrongArity(name string) string {
	return "ERR wrong number of arguments for '" + clean(name) + "' command"
}

// UnknownCommand refuses a name that is no command. args are the arguments behind the name.
func UnknownCommand(name []byte, args [][]byte) string {
	const most = 128 // bytes shown of the name and of the arguments
	var s strings.Builder
	fmt.Fprintf(&s, "ERR unknown command '%s', with args beginning with: ", clean(cut(name, most)))
	for shown, i := 0, 0; i < len(args) && shown < most; i++ {
		a := cut(args[i], most-shown)
		fmt.Fprintf(&s, "'%s' ", clean(a))
		shown += len(a) + 3
	}
	return s.String()
}

// UnknownSubcommand refuses the second word of a command; container is the first.
func UnknownSubcommand(sub []byte, container string) string {
	return fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", clean(cut(sub, 128)),
		strings.ToUpper(container))
}

// SubcommandSyntax refuses a sub-command that does not go with its arguments.
func SubcommandSyntax(sub []byte, container string) string {
	return fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%s'. Try %s HELP.",
		clean(cut(sub, 128)), strings.ToUpper(container))
}

// OnlyPubSub refuses a command of a version 2 client that is subscribed; name is in lower case.
func OnlyPubSub(name string) string {
	return "ERR Can't execute '" + clean(name) + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / " +
		"RESET are allowed in this context"
}

// NoPermCommand refuses a command that the user may not run; name is the full name in lower case.
func NoPermCommand(user, name string) string {
	return "NOPERM User " + clean(user) + " has no permissions to run the '" + clean(name) + "' command"
}

// NoPermExec refuses EXEC because rights were taken away since the commands were queued. reason is a text of
// this file without its code word.
func NoPermExec(reason string) string {
	return "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. " +
		"This command is no longer allowed for the following reason: " + clean(reason)
}

// ExecAborted answers EXEC when the server's state does not allow the transaction any more. cause is the
// error reply that a command of it would get.
func ExecAborted(cause string) string {
	return "EXECABORT Transaction discarded because of: " + clean(strings.TrimPrefix(cause, "ERR "))
}

// Misconf refuses writes because the log cannot be written; the words are those of Redis for its append-only
// file, which monitoring looks for.
func Misconf(reason string) string {
	return "MISCONF Errors writing to the AOF file: " + clean(reason)
}

// InvalidExpire refuses an expiry that is not positive or does not fit; name is in lower case.
func InvalidExpire(name string) string {
	return "ERR invalid expire time in '" + clean(name) + "' command"
}

// UnknownArgument refuses an option of HSETEX.
func UnknownArgument(arg []byte) string { return "ERR unknown argument: " + clean(string(arg)) }

// Range refuses a number outside of what is allowed.
func Range(low, high int64) string {
	return fmt.Sprintf("ERR value is out of range, value must between %d and %d", low, high)
}

// UnsupportedOption refuses an option of EXPIRE and its kin.
func UnsupportedOption(option []byte) string {
	return "ERR Unsupported option " + clean(string(option))
}

// UnknownConfig refuses CONFIG SET of a parameter that does not exist.
func UnknownConfig(name []byte) string {
	return "ERR Unknown option or number of arguments for CONFIG SET - '" + clean(string(name)) + "'"
}

// ConfigSetFailed refuses a value in CONFIG SET.
func ConfigSetFailed(name, reason string) string {
	return "ERR CONFIG SET failed (possibly related to argument '" + clean(name) + "') - " + clean(reason)
}

// NotConfirmed answers a write that was executed here but not confirmed by as many replicas as
// sync-replicas asks for. It may be lost in a fail-over.
func NotConfirmed(got, want int) string {
	return fmt.Sprintf("NOTCONFIRMED The command was executed here but confirmed by %d of %d replicas only.",
		got, want)
}

// Denied refuses a command that is not available at this place, such as through a proxy.
func Denied(name, reason string) string {
	return "ERR '" + clean(strings.ToLower(name)) + "' is not available here: " + clean(reason)
}

// Internal reports a failure that is no fault of the client's.
func Internal(err error) string { return "ERR internal error: " + clean(err.Error()) }

// cut is b with at most n bytes.
func cut(b []byte, n int) string {
	if len(b) > n {
		b = b[:n]
	}
	return string(b)
}

// clean replaces line ends, so that a text that quotes its client stays one line wherever it goes.
// Writer.Error would do it too; logs and EXECABORT would not.
func clean(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
