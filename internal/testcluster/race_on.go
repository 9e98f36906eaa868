//go:build race

package testcluster

// raceEnabled: a race-enabled test drives a race-enabled binary.
const raceEnabled = true
