package lua

import "fmt"

// proto is a compiled function. It belongs to no state and is never changed: programs are shared.
type proto struct {
	chunk     string
	line      int
	nparams   int
	vararg    bool
	nregs     int
	ups       []upvalSource
	params    []*local
	body      []any
	code      []stmt
	captured  []int // registers of parameters that closures capture
	depth     int   // how deeply expressions and statements nest: what a call may take of the host's stack
	legacyArg bool
}

// upvalSource says where a new closure finds a captured variable: in a register of the function that makes it, or
// among that function's own.
type upvalSource struct {
	name      string
	fromLocal *local
	index     int
}

// Limits of the language's reference implementation.
const (
	maxLocals  = 200
	maxUpvals  = 60
	maxNesting = 200
)

// maxSource bounds a source; a syntax tree takes some hundred bytes for each byte of the source.
const maxSource = 16 << 20

type parser struct {
	lexer
	fs    *funcState
	depth int
}

// funcState is a function that is being parsed.
type funcState struct {
	parent *funcState
	p      *proto
	active []*local
	loops  int
}

// parse makes the syntax tree of a chunk.
func parse(src, chunk string) (p *proto, err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *SyntaxError:
			p, err = nil, e
		default:
			panic(e)
		}
	}()
	ps := &parser{lexer: lexer{src: src, chunk: chunk, line: 1, last: 1}}
	if len(src) > maxSource {
		ps.fail("chunk has too many lines", false)
	}
	if len(src) > 0 && src[0] == 0x1b {
		ps.fail("binary chunks are not allowed", false)
	}
	if len(src) > 0 && src[0] == '#' {
		for ps.pos < len(src) && src[ps.pos] != '\n' {
			ps.pos++
		}
	}
	ps.open(0)
	ps.fs.p.vararg = true
	ps.next()
	ps.fs.p.body = ps.block()
	ps.check(tEOF)
	return ps.close(), nil
}

func (ps *parser) open(line int) {
	ps.fs = &funcState{parent: ps.fs, p: &proto{chunk: ps.chunk, line: line}}
}

func (ps *parser) close() *proto {
	p := ps.fs.p
	if p.depth = nesting(p.body); p.depth > maxFunctionDepth {
		ps.fail("chunk has too many syntax levels", false)
	}
	for _, v := range p.params {
		if v.captured {
			p.captured = append(p.captured, v.slot)
		}
	}
	ps.fs = ps.fs.parent
	return p
}

func (ps *parser) check(t token) {
	if ps.tok != t {
		ps.fail(fmt.Sprintf("'%s' expected", t), true)
	}
}

func (ps *parser) expect(t token) {
	ps.check(t)
	ps.next()
}

func (ps *parser) accept(t token) bool {
	if ps.tok == t {
		ps.next()
		return true
	}
	return false
}

// match expects the end of what began with open in a line.
func (ps *parser) match(end, open token, line int) {
	if ps.tok == end {
		ps.next()
		return
	}
	if line == ps.line {
		ps.check(end)
	}
	ps.fail(fmt.Sprintf("'%s' expected (to close '%s' at line %d)", end, open, line), true)
}

func (ps *parser) name() string {
	ps.check(tName)
	n := ps.text
	ps.next()
	return n
}

func (ps *parser) enter() {
	if ps.depth++; ps.depth > maxNesting {
		ps.fail("chunk has too many syntax levels", false)
	}
}

func (ps *parser) leave() { ps.depth-- }

func (ps *parser) limit(n, most int, what string) {
	if n <= most {
		return
	}
	where := "main function"
	if l := ps.fs.p.line; l != 0 {
		where = fmt.Sprintf("function at line %d", l)
	}
	ps.fail(fmt.Sprintf("%s has more than %d %s", where, most, what), false)
}

// declare makes a variable that is active from now on.
func (ps *parser) declare(name string) *local {
	v := ps.reserve(name, len(ps.fs.active))
	ps.fs.active = append(ps.fs.active, v)
	return v
}

func (ps *parser) reserve(name string, slot int) *local {
	ps.limit(slot+1, maxLocals, "local variables")
	ps.fs.p.nregs = max(ps.fs.p.nregs, slot+1)
	return &local{name: name, slot: slot}
}

// resolve finds what a name means: local, captured or global.
func (ps *parser) resolve(name string, line int) any {
	if v := ps.fs.local(name); v != nil {
		return &localNode{v}
	}
	if i := ps.upvalue(ps.fs, name); i >= 0 {
		return &upvalNode{i, name}
	}
	return &globalNode{constant(name), line}
}

func (fs *funcState) local(name string) *local {
	for i := len(fs.active) - 1; i >= 0; i-- {
		if fs.active[i].name == name {
			return fs.active[i]
		}
	}
	return nil
}

func (ps *parser) upvalue(fs *funcState, name string) int {
	if fs.parent == nil {
		return -1
	}
	for i, u := range fs.p.ups {
		if u.name == name && (u.fromLocal == nil || u.fromLocal == fs.parent.local(name)) {
			return i
		}
	}
	u := upvalSource{name: name}
	if v := fs.parent.local(name); v != nil {
		v.captured = true
		u.fromLocal = v
	} else if u.index = ps.upvalue(fs.parent, name); u.index < 0 {
		return -1
	}
	fs.p.ups = append(fs.p.ups, u)
	ps.limit(len(fs.p.ups), maxUpvals, "upvalues")
	return len(fs.p.ups) - 1
}

func blockEnds(t token) bool {
	switch t {
	case tElse, tElseif, tEnd, tUntil, tEOF:
		return true
	}
	return false
}

// block parses statements in a scope of their own.
func (ps *parser) block() []any {
	n := len(ps.fs.active)
	body := ps.statements()
	ps.fs.active = ps.fs.active[:n]
	return body
}

func (ps *parser) statements() []any {
	var body []any
	ps.enter()
	for !blockEnds(ps.tok) {
		s, last := ps.statement()
		body = append(body, s)
		ps.accept(';')
		if last {
			break
		}
	}
	ps.leave()
	return body
}

func (ps *parser) statement() (s any, last bool) {
	line := ps.line
	switch ps.tok {
	case tIf:
		return ps.ifStatement(line), false
	case tWhile:
		ps.next()
		cond := ps.expr()
		ps.expect(tDo)
		body := ps.loop()
		ps.match(tEnd, tWhile, line)
		return &whileStat{cond, body, line}, false
	case tDo:
		ps.next()
		body := ps.block()
		ps.match(tEnd, tDo, line)
		return &doStat{body}, false
	case tFor:
		return ps.forStatement(line), false
	case tRepeat:
		ps.next()
		n := len(ps.fs.active)
		ps.fs.loops++
		body := ps.statements()
		ps.fs.loops--
		ps.match(tUntil, tRepeat, line)
		cond := ps.expr() // sees the variables of the body
		ps.fs.active = ps.fs.active[:n]
		return &repeatStat{body, cond, line}, false
	case tFunction:
		return ps.functionStatement(line), false
	case tLocal:
		ps.next()
		if ps.accept(tFunction) {
			v := ps.declare(ps.name())
			return &localFuncStat{v, ps.function(false, line)}, false
		}
		return ps.localStatement(line), false
	case tReturn:
		ps.next()
		r := &returnStat{line: line}
		if !blockEnds(ps.tok) && ps.tok != ';' {
			r.exprs = ps.exprList()
		}
		return r, true
	case tBreak:
		ps.next()
		if ps.fs.loops == 0 {
			ps.fail("no loop to break", true)
		}
		return &breakStat{}, true
	}
	return ps.exprStatement(), false
}

func (ps *parser) loop() []any {
	ps.fs.loops++
	body := ps.block()
	ps.fs.loops--
	return body
}

func (ps *parser) ifStatement(line int) any {
	s := &ifStat{}
	for {
		ps.next() // if, elseif
		s.conds = append(s.conds, ps.expr())
		ps.expect(tThen)
		s.bodies = append(s.bodies, ps.block())
		if ps.tok != tElseif {
			break
		}
	}
	if ps.accept(tElse) {
		s.bodies = append(s.bodies, ps.block())
	}
	ps.match(tEnd, tIf, line)
	return s
}

func (ps *parser) forStatement(line int) any {
	ps.next()
	n := len(ps.fs.active)
	defer func() { ps.fs.active = ps.fs.active[:n] }()
	first := ps.name()
	switch ps.tok {
	case '=':
		s := &forNumStat{line: line}
		ps.next()
		s.from = ps.expr()
		ps.expect(',')
		s.limit = ps.expr()
		if ps.accept(',') {
			s.step = ps.expr()
		}
		for range 3 { // as many hidden variables as the reference has
			ps.declare("(for)")
		}
		s.v = ps.declare(first)
		ps.expect(tDo)
		s.body = ps.loop()
		ps.match(tEnd, tFor, line)
		return s
	case ',', tIn:
		names := []string{first}
		for ps.accept(',') {
			names = append(names, ps.name())
		}
		ps.expect(tIn)
		s := &forInStat{line: line, exprs: ps.exprList()}
		s.state = len(ps.fs.active)
		for range 3 {
			ps.declare("(for)")
		}
		for _, n := range names {
			s.vars = append(s.vars, ps.declare(n))
		}
		ps.expect(tDo)
		s.body = ps.loop()
		ps.match(tEnd, tFor, line)
		return s
	}
	ps.fail("'=' or 'in' expected", true)
	return nil
}

func (ps *parser) functionStatement(line int) any {
	ps.next()
	at := ps.line
	target := ps.resolve(ps.name(), at)
	method := false
	for ps.tok == '.' || ps.tok == ':' {
		method = ps.tok == ':'
		ps.next()
		at = ps.line
		target = &indexNode{target, &constNode{constant(ps.name())}, at}
		if method {
			break
		}
	}
	f := ps.function(method, line)
	return &assignStat{[]any{target}, []any{f}, line}
}

// function parses parameters and body.
func (ps *parser) function(method bool, line int) *funcNode {
	ps.open(line)
	p, depth := ps.fs.p, ps.depth
	if method {
		p.params = append(p.params, ps.declare("self"))
	}
	ps.expect('(')
	for ps.tok != ')' {
		if ps.tok == tDots {
			ps.next()
			p.vararg = true
			break
		}
		if ps.tok != tName {
			ps.fail("<name> or '...' expected", true)
		}
		p.params = append(p.params, ps.declare(ps.name()))
		if !ps.accept(',') {
			break
		}
		if ps.tok == ')' {
			ps.fail("<name> or '...' expected", true)
		}
	}
	ps.expect(')')
	p.nparams = len(p.params)
	if p.vararg {
		// The reference's compatibility with Lua 5.0: a table of the arguments, unless "..." is used.
		p.legacyArg = true
		ps.declare("arg")
	}
	p.body = ps.block()
	ps.match(tEnd, tFunction, line)
	ps.depth = depth
	return &funcNode{ps.close()}
}

func (ps *parser) localStatement(line int) any {
	var names []string
	for {
		names = append(names, ps.name())
		if !ps.accept(',') {
			break
		}
	}
	s := &localStat{line: line}
	if ps.accept('=') {
		s.exprs = ps.exprList()
	}
	for _, n := range names { // not before: the expressions mean the outer variables
		s.vars = append(s.vars, ps.declare(n))
	}
	return s
}

func (ps *parser) exprStatement() any {
	line := ps.line
	e := ps.primary()
	if c, ok := e.(*callNode); ok && ps.tok != '=' && ps.tok != ',' {
		return &callStat{c}
	}
	targets := []any{e}
	for {
		switch e.(type) {
		case *localNode, *upvalNode, *globalNode, *indexNode:
		default:
			ps.fail("syntax error", true)
		}
		if !ps.accept(',') {
			break
		}
		e = ps.primary()
		targets = append(targets, e)
		ps.limit(len(targets), maxNesting-ps.depth, "variables in assignment")
	}
	ps.expect('=')
	return &assignStat{targets, ps.exprList(), line}
}

func (ps *parser) exprList() []any {
	list := []any{ps.expr()}
	for ps.accept(',') {
		list = append(list, ps.expr())
	}
	return list
}

// prefix parses a name or an expression in brackets.
func (ps *parser) prefix() any {
	line := ps.line
	switch ps.tok {
	case tName:
		return ps.resolve(ps.name(), line)
	case '(':
		ps.next()
		e := ps.expr()
		ps.match(')', '(', line)
		switch e.(type) {
		case *callNode, *varargNode:
			return &parenNode{e}
		case *localNode, *upvalNode, *globalNode, *indexNode:
			return &parenNode{e} // no target of an assignment
		}
		return e
	}
	ps.fail("unexpected symbol", true)
	return nil
}

// primary parses a prefix with its fields and calls.
func (ps *parser) primary() any {
	e := ps.prefix()
	for n := 0; ; n++ {
		line := ps.line
		switch ps.tok {
		case '.':
			ps.next()
			e = &indexNode{e, &constNode{constant(ps.name())}, line}
		case '[':
			ps.next()
			key := ps.expr()
			ps.expect(']')
			e = &indexNode{e, key, line}
		case ':':
			ps.next()
			method := constant(ps.name())
			line = ps.line
			e = &callNode{fn: e, method: method, line: line, args: ps.arguments()}
		case '(', tString, '{':
			e = &callNode{fn: e, line: line, args: ps.arguments()}
		default:
			return e
		}
		// A chain is a tree as deep as it is long.
		if n > maxChain {
			ps.fail("chunk has too many syntax levels", false)
		}
	}
}

// maxChain bounds chains of fields, calls and operators, which the reference does not bound.
const maxChain = 2000

// maxFunctionDepth bounds how deeply a function nests in all, chains within chains included.
const maxFunctionDepth = 20000

func (ps *parser) arguments() []any {
	line := ps.line
	switch ps.tok {
	case '(':
		if line != ps.last {
			ps.fail("ambiguous syntax (function call x new statement)", true)
		}
		ps.next()
		var args []any
		if ps.tok != ')' {
			args = ps.exprList()
		}
		ps.match(')', '(', line)
		return args
	case '{':
		return []any{ps.table()}
	case tString:
		v := constant(ps.text)
		ps.next()
		return []any{&constNode{v}}
	}
	ps.fail("function arguments expected", true)
	return nil
}

func (ps *parser) table() any {
	line := ps.line
	t := &tableNode{line: line}
	ps.expect('{')
	for ps.tok != '}' {
		var item tableItem
		switch {
		case ps.tok == '[':
			ps.next()
			item.key = ps.expr()
			ps.expect(']')
			ps.expect('=')
		case ps.tok == tName && ps.peek() == '=':
			item.key = &constNode{constant(ps.name())}
			ps.expect('=')
		}
		item.val = ps.expr()
		t.items = append(t.items, item)
		if !ps.accept(',') && !ps.accept(';') {
			break
		}
	}
	ps.match('}', '{', line)
	return t
}

func (ps *parser) simple() any {
	var e any
	switch ps.tok {
	case tNumber:
		e = &constNode{Num(ps.num)}
	case tString:
		e = &constNode{constant(ps.text)}
	case tNil:
		e = &constNode{}
	case tTrue:
		e = &constNode{True}
	case tFalse:
		e = &constNode{False}
	case tDots:
		if !ps.fs.p.vararg {
			ps.fail("cannot use '...' outside a vararg function", true)
		}
		ps.fs.p.legacyArg = false
		e = &varargNode{}
	case '{':
		return ps.table()
	case tFunction:
		line := ps.line
		ps.next()
		return ps.function(false, line)
	default:
		return ps.primary()
	}
	ps.next()
	return e
}

// binary are the operators with their priorities on both sides: a higher one on the left binds to the right.
var binary = map[token]struct {
	op          binOp
	left, right int
}{
	'+': {opAdd, 6, 6}, '-': {opSub, 6, 6}, '*': {opMul, 7, 7}, '/': {opDiv, 7, 7}, '%': {opMod, 7, 7},
	'^': {opPow, 10, 9}, tConcat: {opConcat, 5, 4}, tNE: {opNE, 3, 3}, tEq: {opEq, 3, 3},
	'<': {opLT, 3, 3}, tLE: {opLE, 3, 3}, '>': {opGT, 3, 3}, tGE: {opGE, 3, 3}, tAnd: {0, 2, 2}, tOr: {0, 1, 1},
}

const unaryPriority = 8

func (ps *parser) expr() any { return ps.subexpr(0) }

func (ps *parser) subexpr(limit int) any {
	ps.enter()
	var e any
	line := ps.line
	switch op := ps.tok; op {
	case tNot, '-', '#':
		ps.next()
		e = unary(op, ps.subexpr(unaryPriority), line)
	default:
		e = ps.simple()
	}
	for n := 0; ; n++ {
		op := ps.tok
		b, ok := binary[op]
		if !ok || b.left <= limit {
			ps.leave()
			return e
		}
		line := ps.line
		ps.next()
		rhs := ps.subexpr(b.right)
		switch op {
		case tAnd, tOr:
			e = &logicNode{op == tAnd, e, rhs}
		default:
			e = fold(&binNode{b.op, e, rhs, line})
		}
		if n > maxChain {
			ps.fail("chunk has too many syntax levels", false)
		}
	}
}

// unary makes the node; the negative of a constant is a constant.
func unary(op token, e any, line int) any {
	if c, ok := e.(*constNode); ok && op == '-' && c.v.IsNumber() {
		return &constNode{Num(-c.v.n)}
	}
	return &unNode{op, e, line}
}

// fold computes with constants, unless the result is none that the reference would compute before the run.
func fold(b *binNode) any {
	x, ok := b.a.(*constNode)
	y, ok2 := b.b.(*constNode)
	if !ok || !ok2 || !x.v.IsNumber() || !y.v.IsNumber() || b.op > opPow ||
		y.v.n == 0 && (b.op == opDiv || b.op == opMod) {
		return b
	}
	f := compute(b.op, x.v.n, y.v.n)
	if f != f {
		return b
	}
	return &constNode{Num(f)}
}
