package lua

// The syntax tree, with names resolved to the variables that they mean.
type (
	constNode  struct{ v Value }
	varargNode struct{}
	localNode  struct{ v *local }
	upvalNode  struct {
		index int
		name  string
	}
	globalNode struct {
		name Value
		line int
	}
	indexNode struct {
		obj, key any
		line     int
	}
	callNode struct {
		fn   any
		args []any
		line int
		// method, if set: fn is the object, which is the first argument too.
		method Value
	}
	funcNode struct{ p *proto }
	binNode  struct {
		op   binOp
		a, b any
		line int
	}
	unNode struct {
		op   token
		a    any
		line int
	}
	logicNode struct {
		and  bool
		a, b any
	}
	tableNode struct {
		items []tableItem
		line  int
	}
	// tableItem without a key is the next element.
	tableItem struct{ key, val any }
	parenNode struct{ e any }
)

type (
	localStat struct {
		vars  []*local
		exprs []any
		line  int
	}
	assignStat struct {
		targets, exprs []any
		line           int
	}
	callStat  struct{ call *callNode }
	doStat    struct{ body []any }
	whileStat struct {
		cond any
		body []any
		line int
	}
	repeatStat struct {
		body []any
		cond any
		line int
	}
	ifStat struct {
		conds  []any
		bodies [][]any // one more than conds if there is an else
	}
	forNumStat struct {
		v                 *local
		from, limit, step any
		body              []any
		line              int
	}
	forInStat struct {
		vars  []*local
		exprs []any
		state int // register of the first of three hidden variables
		body  []any
		line  int
	}
	localFuncStat struct {
		v *local
		f *funcNode
	}
	returnStat struct {
		exprs []any
		line  int
	}
	breakStat struct{}
)

// local is a local variable. A captured one lives in a cell, which its register holds.
type local struct {
	name     string
	slot     int
	captured bool
}

type binOp uint8

const (
	opAdd binOp = iota
	opSub
	opMul
	opDiv
	opMod
	opPow
	opConcat
	opEq
	opNE
	opLT
	opLE
	opGT
	opGE
)
