package command

// requestPolicy and responsePolicy are the words of Redis' command tips for routes and merges.
var (
	requestPolicy = map[Route]string{
		RouteMultiShard: "multi_shard", RouteAllShards: "all_shards", RouteAllNodes: "all_nodes", RouteCursor: "special",
	}
	responsePolicy = map[Merge]string{
		MergeAllSucceeded: "all_succeeded", MergeSum: "agg_sum", MergeMin: "agg_min", MergeLogicalAnd: "agg_logical_and",
		MergeOneSucceeded: "one_succeeded", MergeSpecial: "special",
	}
)

// Tips are the command tips that COMMAND prints: how a proxy or a cluster client routes and merges.
func (s *Spec) Tips() []string {
	var tips []string
	if p, ok := requestPolicy[s.Route]; ok {
		tips = append(tips, "request_policy:"+p)
	}
	if p, ok := responsePolicy[s.Merge]; ok {
		tips = append(tips, "response_policy:"+p)
	}
	return tips
}

// Positions are the first key, last key and step of the old form of COMMAND: of the range specifications
// that lie in a row, as Redis computes them; zeros if there are none.
func (s *Spec) Positions() (first, last, step int) {
	for i, k := range s.Keys {
		if k.Find != FindRange {
			continue
		}
		if i == 0 || first == 0 {
			first, last, step = k.First, k.Last, k.Step
			continue
		}
		if k.First == last+1 && k.Step == 1 && step == 1 {
			last = k.Last
		}
	}
	return first, last, step
}
