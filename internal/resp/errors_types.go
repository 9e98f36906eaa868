package resp

import (
	"fmt"
	"strings"
)

// Replies of the string and bit commands.
const (
	ErrStringTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	ErrOverflow      = "ERR increment or decrement would overflow"
	ErrDecrOverflow  = "ERR decrement would overflow"
	ErrNaNOrInf      = "ERR increment would produce NaN or Infinity"
	ErrOffsetRange   = "ERR offset is out of range"
	ErrBitOffset     = "ERR bit offset is not an integer or out of range"
	ErrBitValue      = "ERR bit is not an integer or out of range"
	ErrBitArgument   = "ERR The bit argument must be 1 or 0."
	ErrBitOpNot      = "ERR BITOP NOT must be called with a single source key."
	ErrBitfieldType  = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is " +
		"not supported but i64 is."
	ErrBitfieldMode   = "ERR Invalid OVERFLOW type specified"
	ErrBitfieldRO     = "ERR BITFIELD_RO only supports the GET subcommand"
	ErrLCSLenAndIdx   = "ERR If you want both the length and indexes, please just use IDX."
	ErrLCSWrongType   = "ERR The specified keys must contain string values"
	ErrHLLInvalid     = "WRONGTYPE Key is not a valid HyperLogLog string value."
	ErrHLLCorrupt     = "INVALIDOBJ Corrupted HLL object detected"
	ErrHLLNotSparse   = "ERR HLL encoding is not sparse"
	ErrHLLNoKey       = "ERR The specified key does not exist"
	ErrDigestLength   = "ERR must be exactly 16 hexadecimal characters"
	ErrDelExType      = "ERR Key should be of string type if conditions are specified"
	ErrDelExCondition = "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"
	ErrMSetExNumKeys  = "ERR invalid numkeys value"
	ErrKeyValuePairs  = "ERR wrong number of key-value pairs"
	ErrDumpPayload    = "ERR DUMP payload version or checksum are wrong"
	ErrBadData        = "ERR Bad data format"
	ErrInvalidTTL     = "ERR Invalid TTL value, must be >= 0"
	ErrInvalidIdle    = "ERR Invalid IDLETIME value, must be >= 0"
	ErrInvalidFreq    = "ERR Invalid FREQ value, must be >= 0 and <= 255"
	ErrExpireNXAndXX  = "ERR NX and XX, GT or LT options at the same time are not compatible"
	ErrExpireGTAndLT  = "ERR GT and LT options at the same time are not compatible"
	ErrFreqNotTracked = "ERR An LFU maxmemory policy is not selected, access frequency not " +
		"tracked. Please note that when switching between policies at runtime LRU and LFU data will " +
		"take some time to adjust."
	ErrIdleNotTracked = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please " +
		"note that when switching between policies at runtime LRU and LFU data will take some time to " +
		"adjust."
)

// Replies of the hash, list, set and sorted set commands.
const (
	ErrHashNotInteger = "ERR hash value is not an integer"
	ErrHashNotFloat   = "ERR hash value is not a float"
	ErrHashNaNOrInf   = "ERR value is NaN or Infinity"
	ErrFieldsMissing  = "ERR Mandatory argument FIELDS is missing or not at the right position"
	ErrFieldsNumber   = "ERR Number of fields must be a positive integer"
	ErrFieldsCount    = "ERR The `numfields` parameter must match the number of arguments"
	ErrFieldsPositive = "ERR Parameter `numFields` should be greater than 0"
	ErrFieldsInvalid  = "ERR invalid number of fields"

	ErrFieldTimeNegative = "ERR invalid expire time, must be >= 0"
	ErrFieldTimeMissing  = "ERR missing expire time"
	ErrFieldTimes        = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
	ErrFieldConditions   = "ERR Only one of FXX or FNX arguments can be specified"

	// Pika's.
	ErrPikaRange = "ERR Invalid argument: error in given range"
	ErrPikaType  = "ERR invalid type"

	ErrRankZero = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use " +
		"negative to start from the end of the list"
	ErrMaxLenNegative = "ERR MAXLEN can't be negative"

	ErrCountPositive   = "ERR count should be greater than 0"
	ErrMinMaxFloat     = "ERR min or max is not a float"
	ErrMinMaxLex       = "ERR min or max not valid string range item"
	ErrScoreNaN        = "ERR resulting score is not a number (NaN)"
	ErrWeightNotFloat  = "ERR weight value is not a float"
	ErrZAddXXAndNX     = "ERR XX and NX options at the same time are not compatible"
	ErrZAddGTLTNX      = "ERR GT, LT, and/or NX options at the same time are not compatible"
	ErrZAddIncr        = "ERR INCR option supports a single increment-element pair"
	ErrZRangeLimit     = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
	ErrZRangeScoresLex = "ERR syntax error, WITHSCORES not supported in combination with BYLEX"

	ErrGeoUnit       = "ERR unsupported unit provided. please use M, KM, FT, MI"
	ErrGeoMember     = "ERR could not decode requested zset member"
	ErrGeoRadius     = "ERR need numeric radius"
	ErrGeoWidth      = "ERR need numeric width"
	ErrGeoHeight     = "ERR need numeric height"
	ErrGeoRadiusSign = "ERR radius cannot be negative"
	ErrGeoBoxSign    = "ERR height or width cannot be negative"
	ErrGeoCount      = "ERR COUNT must be > 0"
	ErrGeoAnyNoCount = "ERR the ANY argument requires COUNT argument"
	ErrSortNotDouble = "ERR One or more scores can't be converted into double"
)

// Replies of the stream commands.
const (
	ErrStreamID          = "ERR Invalid stream ID specified as stream command argument"
	ErrStreamIDZero      = "ERR The ID specified in XADD must be greater than 0-0"
	ErrStreamIDSmall     = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
	ErrStreamTooLarge    = "ERR Elements are too large to be stored"
	ErrStreamExhausted   = "ERR The stream has exhausted the last possible ID, unable to add more items"
	ErrStreamTrimBoth    = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
	ErrStreamTrimLimit   = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
	ErrStreamTrimNone    = "ERR syntax error, XTRIM must be called with a trimming strategy"
	ErrStreamTrimExact   = "ERR syntax error, LIMIT cannot be used without the special ~ option"
	ErrStreamMaxLenSign  = "ERR The MAXLEN argument must be >= 0."
	ErrStreamLimitSign   = "ERR The LIMIT argument must be >= 0."
	ErrStreamGroupExists = "BUSYGROUP Consumer Group name already exists"
	ErrStreamGroupOption = "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."
	ErrStreamNoAckOption = "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."
	ErrStreamNoGroup     = "ERR Missing GROUP option for XREADGROUP"
	ErrStreamNoKey       = "ERR The XGROUP subcommand requires the key to exist. Note that for " +
		"CREATE you may want to use the MKSTREAM option to create an empty stream automatically."
	ErrStreamEntriesRead  = "ERR value for ENTRIESREAD must be positive or -1"
	ErrStreamRangeStart   = "ERR invalid start ID for the interval"
	ErrStreamRangeEnd     = "ERR invalid end ID for the interval"
	ErrStreamEntriesAdded = "ERR entries_added must be positive"
	ErrStreamSetMaxDel    = "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
	ErrStreamSetDeleted   = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"
	ErrStreamSetTop       = "ERR The ID specified in XSETID is smaller than the target stream top item"
	ErrStreamSetAdded     = "ERR The entries_added specified in XSETID is smaller than the target stream length"
	ErrStreamNewID        = "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> " +
		"<consumer> option."
	ErrStreamLastID = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of " +
		"this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an " +
		"empty result set."
	ErrStreamClaimIdle     = "ERR Invalid min-idle-time argument for XCLAIM"
	ErrStreamAutoClaimIdle = "ERR Invalid min-idle-time argument for XAUTOCLAIM"
	ErrStreamIdle          = "ERR Invalid IDLE option argument for XCLAIM"
	ErrStreamTime          = "ERR Invalid TIME option argument for XCLAIM"
	ErrStreamRetryCount    = "ERR Invalid RETRYCOUNT option argument for XCLAIM"
	ErrStreamCount         = "ERR COUNT must be > 0"
)

// Replies of scripts.
const (
	ErrNoScript   = "NOSCRIPT No matching script. Please use EVAL."
	ErrNotBusy    = "NOTBUSY No scripts in execution right now."
	ErrUnkillable = "UNKILLABLE Sorry the script already executed write commands against the " +
		"dataset. You can either wait the script termination or kill the server in a hard way using " +
		"the SHUTDOWN NOSAVE command."
	ErrBusyFunction = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
	// ErrScriptWrites refuses a script that may write, in one of the commands for reading.
	ErrScriptWrites   = "ERR Can not execute a script with write flag using *_ro command."
	ErrScriptReadOnly = "ERR Write commands are not allowed from read-only scripts."
	ErrScriptReplica  = "READONLY Can not run script with write flag on readonly replica."
	ErrScriptUnknown  = "ERR Unknown Redis command called from script"
	ErrScriptArity    = "ERR Wrong number of args calling Redis command from script"
	ErrScriptStale    = "ERR Can not execute the command on a stale replica"
	// ErrScriptEnded ends a script because of what the node does; nothing of it is kept.
	ErrScriptEnded   = "UNBLOCKED the script was ended because this node stops or changes its role; nothing of it was kept"
	ErrKeysNegative  = "ERR Number of keys can't be negative"
	ErrNotFromScript = "ERR This Redis command is not allowed from script"
)

// UnbalancedStreams refuses XREAD and XREADGROUP whose keys and ids do not pair up; name is in lower case.
// what is the id that stands for new entries, "$" or ">".
func UnbalancedStreams(name, what string) string {
	return "ERR Unbalanced '" + name + "' list of streams: for each stream key an ID or '" + what +
		"' must be specified."
}

// NoGroup answers a stream command for a group that does not exist.
func NoGroup(key, group []byte) string {
	return "NOGROUP No such key '" + clean(string(key)) + "' or consumer group '" + clean(string(group)) + "'"
}

// NoGroupRead is NoGroup for XREADGROUP.
func NoGroupRead(key, group []byte) string {
	return NoGroup(key, group) + " in XREADGROUP with GROUP option"
}

// NoGroupForKey is NoGroup for XGROUP and XINFO, where the key exists.
func NoGroupForKey(group, key []byte) string {
	return "NOGROUP No such consumer group '" + clean(string(group)) + "' for key name '" +
		clean(string(key)) + "'"
}

// UnknownClaimOption refuses a word among the options of XCLAIM.
func UnknownClaimOption(word []byte) string {
	return "ERR Unrecognized XCLAIM option '" + clean(string(word)) + "'"
}

// NeedsInputKey refuses ZUNION and its kin without a key; name is in lower case.
func NeedsInputKey(name string) string {
	return "ERR at least 1 input key is needed for '" + clean(name) + "' command"
}

// AnyOneOf refuses GEOSEARCH with neither of two ways to say the same, or with both.
func AnyOneOf(options, name string) string {
	return "ERR exactly one of " + options + " can be specified for " + clean(name)
}

// BadLongLat refuses coordinates that are not on the map.
func BadLongLat(longitude, latitude float64) string {
	pair := fmt.Sprintf("%f,%f", longitude, latitude)
	return "ERR invalid longitude,latitude pair " + strings.ToLower(strings.ReplaceAll(pair, "+", "")) // as C spells inf
}

// SortDenied refuses an option of SORT to a user who may not read every key.
func SortDenied(option string) string {
	return "ERR " + option + " option of SORT denied due to insufficient ACL permissions."
}

// SortInCluster refuses an option of SORT that may name keys of other shards.
func SortInCluster(option string) string {
	return "ERR " + option + " option of SORT denied in cluster mode."
}

// StoreWith refuses to store what a search was asked to answer; what names the command or its option.
func StoreWith(what string) string {
	return "ERR " + what + " is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
}

// UnknownPFDebug refuses a sub-command of PFDEBUG that does not exist.
func UnknownPFDebug(sub []byte) string {
	return "ERR Unknown PFDEBUG subcommand '" + clean(cut(sub, 128)) + "'"
}
