//go:build race

package testcluster

// RaceEnabled: a race-enabled test drives a race-enabled binary, which is slower and needs more memory.
const RaceEnabled = true
