// Package option declares every configuration option of a data node once, as data, and derives the rest
// from the declaration: the redis.conf-style file and command line (Load), the values that a running node
// reads (Config), CONFIG GET, SET and REWRITE, and docs/config.md (Markdown).
//
// An option stands in the table only if the node honours it. Names of Redis and Pika options that have no
// meaning here are listed in foreign.go with what to use instead, so that a moved-in file fails with an
// answer.
//
// # Reading
//
// Each option has a typed handle declared beside its description; Config.Int(MaxClients) costs two loads
// and takes no lock. All values live in an immutable View behind one atomic pointer: a reader that needs
// several options to fit together takes Config.View once.
//
// # Changing
//
// Config.Set is CONFIG SET: all-or-nothing over several options. Owners of resources (listeners, caches)
// register with OnApply and may refuse; they see the next View before readers do. Config.Assign is for the
// option's owner itself (REPLICAOF, a generated node id) and asks nobody.
//
// # Goroutines and locks
//
// The package starts no goroutine. Set, Assign and Rewrite are serialised by Config.serial, which is held
// while OnApply and OnChange functions run and while the file is written; these functions must therefore
// not call Set, Assign or Rewrite. Readers never take it. Config.mu guards only the lists of registered
// functions.
package option
