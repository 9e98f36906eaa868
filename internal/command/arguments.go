package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Argument is an argument of a command, or several that belong together, as COMMAND DOCS describes them.
type Argument struct {
	// Name is different from those of the arguments beside it.
	Name string
	// Display is what a hint shows: the word in the syntax.
	Display string
	Type    ArgumentType
	// Token is the word in front of the argument, or the argument itself if its type is TypePureToken.
	Token string
	// KeySpec is the index in Spec.Keys of the specification that finds this key, -1 if the argument is no key.
	KeySpec  int
	Optional bool
	Multiple bool
	// MultipleToken says that the token is repeated with each of several.
	MultipleToken bool
	// Arguments are the parts of a block, or the alternatives.
	Arguments []Argument
}

// ArgumentType is the type of an argument, in the words of COMMAND DOCS.
type ArgumentType string

// The types.
const (
	TypeString    ArgumentType = "string"
	TypeInteger   ArgumentType = "integer"
	TypeDouble    ArgumentType = "double"
	TypeKey       ArgumentType = "key"
	TypePattern   ArgumentType = "pattern"
	TypeUnixTime  ArgumentType = "unix-time"
	TypePureToken ArgumentType = "pure-token"
	TypeOneOf     ArgumentType = "oneof"
	TypeBlock     ArgumentType = "block"
)

// IsGroup reports whether arguments of the type consist of others. Those have nothing to display of their own.
func (t ArgumentType) IsGroup() bool { return t == TypeOneOf || t == TypeBlock }

// Arguments describes what follows the words of the command's name; nil for a container. Valid after NewTable,
// not to be modified.
func (s *Spec) Arguments() []Argument { return s.arguments }

// parseArguments derives the arguments from Syntax and Keys.
func (s *Spec) parseArguments() error {
	nodes, err := parseSyntax(s.Syntax)
	if err != nil {
		return err
	}
	for _, word := range strings.Split(strings.ToUpper(s.lower), "|") {
		if len(nodes) == 0 || !nodes[0].equal(node{word: word}) {
			return fmt.Errorf("syntax: it has to begin with %s", word)
		}
		nodes = nodes[1:]
	}
	if len(s.Sub) == 0 {
		b := argumentBuilder{spec: s, patternKey: -1}
		s.arguments = b.sequence(nodes)
	}
	return nil
}

// argumentBuilder turns the syntax of one command into arguments.
type argumentBuilder struct {
	spec *Spec
	// nextKey is the key specification of the next key: they are in the order of the syntax.
	nextKey int
	// patternKey is the key specification that patterns stand for (SORT ... BY pattern), -1 if there is none.
	patternKey int
}

func (b *argumentBuilder) sequence(nodes []node) []Argument {
	var all []Argument
	for i := 0; i < len(nodes); i++ {
		n := nodes[i]
		if !n.isToken() {
			all = append(all, b.argument(n))
			continue
		}
		end := i + 1
		for end < len(nodes) && !n.multiple && nodes[end].followsToken() {
			end++
		}
		name := tokenName(n.word)
		arg := Argument{Name: name, Display: name, Type: TypePureToken, KeySpec: -1, Multiple: n.multiple}
		if end > i+1 {
			arg = single(b.sequence(nodes[i+1 : end]))
			if arg.Type.IsGroup() {
				arg.Name = name
			}
		}
		arg.Token = n.word
		all = append(all, arg)
		i = end - 1
	}
	distinguish(all)
	return all
}

// followsToken reports whether a token in front of the node belongs to it: COUNT count, LIMIT offset count, but not
// COUNT [count].
func (n node) followsToken() bool {
	if n.word != "" {
		return !n.isToken()
	}
	return !n.optional && (len(n.alts) > 1 || n.alts[0][0].followsToken())
}

// argument is what a node other than a token says.
func (b *argumentBuilder) argument(n node) Argument {
	if n.word != "" {
		arg := b.leaf(n.word)
		arg.Multiple = n.multiple
		return arg
	}
	alts := make([]Argument, len(n.alts))
	for i, alt := range n.alts {
		alts[i] = single(b.sequence(alt))
	}
	arg := alts[0]
	if len(alts) > 1 {
		distinguish(alts)
		arg = Argument{Name: choiceName(alts), Type: TypeOneOf, KeySpec: -1, Arguments: alts}
	}
	if n.multiple {
		if arg.Multiple {
			arg = block([]Argument{arg})
		}
		arg.Multiple, arg.MultipleToken = true, arg.Token != "" && arg.Type != TypePureToken
	}
	arg.Optional = arg.Optional || n.optional
	return arg
}

func single(args []Argument) Argument {
	if len(args) == 1 {
		return args[0]
	}
	return block(args)
}

func block(args []Argument) Argument {
	return Argument{Name: joinNames(args), Type: TypeBlock, KeySpec: -1, Arguments: args}
}

// signNames are the names of tokens that are no words.
var signNames = map[string]string{
	"=": "equal", "~": "approximately", "*": "auto-id", "$": "new-id", `""`: "empty-string",
}

func tokenName(token string) string {
	if name := signNames[token]; name != "" {
		return name
	}
	return strings.ToLower(token)
}

// distinguish gives arguments that stand beside each other names of their own: BY pattern GET pattern.
func distinguish(args []Argument) {
	used := map[string]bool{}
	for i := range args {
		a := &args[i]
		name := a.Name
		if used[name] && a.Token != "" && a.Type != TypePureToken && !a.Type.IsGroup() {
			name = tokenName(a.Token) + "-" + a.Name
		}
		for n := 2; used[name]; n++ {
			name = a.Name + "-" + strconv.Itoa(n)
		}
		a.Name, used[name] = name, true
	}
}

// choiceNames names alternatives by the token or the name of the first of them, where there is a word for it.
var choiceNames = map[string]string{
	"NX": "condition", "FNX": "condition", "IFEQ": "condition", "GT": "comparison", "EX": "expiration",
	"M": "unit", "BYTE": "unit", "ASC": "order", "LEFT": "where", "MIN": "where", "BEFORE": "where",
	"BYSCORE": "sortby", "BYRADIUS": "by", "FROMMEMBER": "from", "STORE": "store", "MAXLEN": "strategy",
	"=": "operator", "*": "id-selector", "id": "id-selector", "ASYNC": "flush-type", "FLUSH": "policy",
	"ON": "status", "WRITE": "mode", "YES": "mode", "FORCE": "options", "HARD": "reset-type",
	"AND": "operation", "GET": "operation", "SET": "write-operation", "AUTH": "authentication",
	"ALL": "type", "STRING": "type", "GETREG": "subcommand", "IMPORTING": "subcommand",
	"ip:port": "filter", "ID": "new-format",
}

func choiceName(alts []Argument) string {
	first := alts[0].Token
	if first == "" {
		first = alts[0].Name
	}
	if name := choiceNames[first]; name != "" {
		return name
	}
	return joinNames(alts)
}

func joinNames(args []Argument) string {
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = a.Name
	}
	return strings.Join(names, "-")
}

func (b *argumentBuilder) leaf(word string) Argument {
	arg := Argument{Name: word, Display: word, Type: b.spec.wordType(word), KeySpec: -1}
	keys := b.spec.Keys
	switch {
	case arg.Type == TypeKey:
		// LCS names both keys of one range.
		arg.KeySpec = min(b.nextKey, len(keys)-1)
		b.nextKey++
	case arg.Type == TypePattern:
		if b.patternKey < 0 && b.nextKey < len(keys) && keys[b.nextKey].Find == FindUnknown {
			b.patternKey = b.nextKey
			b.nextKey++
		}
		arg.KeySpec = b.patternKey
	}
	return arg
}

// keyWords are the arguments that are keys, in a command that has keys.
var keyWords = []string{
	"key", "key1", "key2", "newkey", "source", "destination", "sourcekey", "destkey", "src", "dst",
}

// wordTypes tells the type of an argument from its name. Where a name means several things, the name or the group of
// the command is before it. Everything else is a string.
var wordTypes = map[string]ArgumentType{
	"pattern": TypePattern,

	"unix-time-seconds": TypeUnixTime, "unix-time-milliseconds": TypeUnixTime, "timestamp": TypeUnixTime,

	"bit": TypeInteger, "bits": TypeInteger, "client-id": TypeInteger, "cluster-bus-port": TypeInteger,
	"config-epoch": TypeInteger, "count": TypeInteger, "cursor": TypeInteger, "db": TypeInteger,
	"decrement": TypeInteger, "destination-db": TypeInteger, "end-slot": TypeInteger, "entries-added": TypeInteger,
	"entries-read": TypeInteger, "frequency": TypeInteger, "index": TypeInteger, "index1": TypeInteger,
	"index2": TypeInteger, "len": TypeInteger, "limit": TypeInteger, "milliseconds": TypeInteger,
	"min-idle-time": TypeInteger, "min-match-len": TypeInteger, "ms": TypeInteger, "num-matches": TypeInteger,
	"numfields": TypeInteger, "numkeys": TypeInteger, "numlocal": TypeInteger, "numreplicas": TypeInteger,
	"offset": TypeInteger, "port": TypeInteger, "protover": TypeInteger, "rank": TypeInteger, "seconds": TypeInteger,
	"size": TypeInteger, "slot": TypeInteger, "start-slot": TypeInteger, "ttl": TypeInteger, "version": TypeInteger,

	"height": TypeDouble, "latitude": TypeDouble, "longitude": TypeDouble, "radius": TypeDouble, "score": TypeDouble,
	"weight": TypeDouble, "width": TypeDouble,

	"increment": TypeInteger, "hincrbyfloat increment": TypeDouble, "incrbyfloat increment": TypeDouble,
	"zincrby increment": TypeDouble,

	// Of a command that waits for keys, in seconds.
	"timeout": TypeDouble, "client|pause timeout": TypeInteger, "migrate timeout": TypeInteger,
	"wait timeout": TypeInteger, "waitaof timeout": TypeInteger,

	"bitfield value": TypeInteger, "setbit value": TypeInteger,

	// Ranges are of positions, but in streams of identifiers, and in ZRANGE of whatever an option says.
	"start": TypeInteger, "stop": TypeInteger, "end": TypeInteger,
	"stream start": TypeString, "stream end": TypeString, "zrange start": TypeString, "zrange stop": TypeString,
	"compactrange start": TypeString, "compactrange end": TypeString, "pkscanrange start": TypeString,
	"pkscanrange end": TypeString, "pkrscanrange start": TypeString, "pkrscanrange end": TypeString,
	"pkhscanrange start": TypeString, "pkhscanrange end": TypeString, "pkhrscanrange start": TypeString,
	"pkhrscanrange end": TypeString, "scanx start": TypeString, "hscanx start": TypeString,

	"min": TypeDouble, "max": TypeDouble,
	"zlexcount min": TypeString, "zlexcount max": TypeString, "zrangebylex min": TypeString,
	"zrangebylex max": TypeString, "zremrangebylex min": TypeString, "zremrangebylex max": TypeString,
	"zrevrangebylex min": TypeString, "zrevrangebylex max": TypeString, "zrangestore min": TypeString,
	"zrangestore max": TypeString,
}

func (s *Spec) wordType(word string) ArgumentType {
	if len(s.Keys) > 0 && slices.Contains(keyWords, word) {
		return TypeKey
	}
	for _, name := range []string{s.lower + " " + word, s.Group + " " + word, word} {
		if t := wordTypes[name]; t != "" {
			return t
		}
	}
	return TypeString
}
