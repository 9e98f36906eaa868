package script

import "sync/atomic"

// Away remembers of a script or function that it could not run where nothing may wait, so that this is not tried, in
// vain, each time.
type Away struct{ left atomic.Int32 }

// awayRuns is how many runs go away at once after one that had to.
const awayRuns = 64

// Leave notes a run that had to go away.
func (a *Away) Leave() { a.left.Store(awayRuns) }

// Left reports whether the next run had better go away at once; each answer counts as a run.
func (a *Away) Left() bool { return a.left.Load() > 0 && a.left.Add(-1) >= 0 }
