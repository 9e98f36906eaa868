// Package str is what string commands compute: sums of long decimal numbers and longest common
// subsequences. Pure functions over bytes; no state and no I/O.
package str
