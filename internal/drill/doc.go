// Package drill rehearses the loss or the exchange of a shard's primary and judges the result. It writes a
// load of which it remembers every write, breaks something, waits for recovery, and then proves what is left:
// each acknowledged write is read back, and the nodes' data are compared.
//
// What is judged is pure: Ledger and Verdict (what was written against what was read), Measure (the times that
// clients saw), Round and Report (what passes). What acts is Drill: it reaches the proxy and the nodes with
// the Redis protocol and is handed the control plane and the killing of processes.
//
// # What counts as what
//
// A reply without error acknowledges a write. A reply that says that nothing was executed (-READONLY,
// -LOADING, -TRYAGAIN ...) refuses it: it must never show up. Anything else, a broken connection included,
// leaves the outcome unknown: the write may exist or not, once. So:
//
//	lost        acknowledged, and not there (or an older value is)
//	wrong       there, with a value that nobody wrote there
//	duplicated  a counter is higher than the increments that may have been executed
//	phantom     refused, and there all the same
//	surplus     outcome unknown, and there: allowed, and counted for information
//
// The first accepted write is the first acknowledged one that was sent after the old primary was dead for
// certain, so that a late reply of the dead one is not taken for recovery. A gap is the time between two
// acknowledgements, or from the last one to the end of the load.
//
// Goroutines: one per client of the load, one per client of the read-back, one that watches for the return of a
// killed node and one per node whose digest is taken, all ended before the function that started them returns.
// A Drill is for one goroutine. No locks.
package drill
