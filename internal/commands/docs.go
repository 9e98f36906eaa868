package commands

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"haypile/internal/command"
)

// generatedNote stands in each page.
const generatedNote = "This page is generated from the command table (`haypile docs`); do not edit it.\n\n"

// groupOrder is the order of the groups in the index; others follow by name.
var groupOrder = []string{
	"string", "hash", "list", "set", "sorted-set", "stream", "generic", "transactions", "pubsub", "scripting",
	"connection", "server", "cluster",
}

// Markdown returns the pages of docs/commands by file name: one for each top-level command, with its
// sub-commands, and the index README.md.
func Markdown(all []*Command) (map[string][]byte, error) {
	table, err := NewTable(all)
	if err != nil {
		return nil, fmt.Errorf("command table: %w", err)
	}
	pages := map[string][]byte{}
	for _, s := range table.All() {
		pages[pageName(s)] = page(s)
	}
	pages["README.md"] = index(table)
	return pages, nil
}

func pageName(s *command.Spec) string { return strings.ToLower(s.Name) + ".md" }

func index(t *command.Table) []byte {
	groups := map[string][]*command.Spec{}
	for _, s := range t.All() {
		groups[s.Group] = append(groups[s.Group], s)
	}
	var names []string
	for g := range groups {
		names = append(names, g)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := groupRank(a) - groupRank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var b bytes.Buffer
	b.WriteString("# Commands\n\n" + generatedNote)
	fmt.Fprintf(&b, "%d commands. Those marked with * differ from Redis %s in something; their pages say in what.\n",
		t.Len(), Version)
	for _, g := range names {
		fmt.Fprintf(&b, "\n## %s\n\n| command | | |\n|---|---|---|\n", g)
		for _, s := range groups[g] {
			mark := ""
			if differsAnywhere(s) {
				mark = "*"
			}
			fmt.Fprintf(&b, "| [%s](%s) | %s | %s |\n", s.Name, pageName(s), mark, cell(s.Summary))
		}
	}
	return b.Bytes()
}

func groupRank(g string) int {
	if i := slices.Index(groupOrder, g); i >= 0 {
		return i
	}
	return len(groupOrder)
}

func differsAnywhere(s *command.Spec) bool {
	return s.Differs != "" || slices.ContainsFunc(s.Sub, func(sub *command.Spec) bool { return sub.Differs != "" })
}

// cell makes a text fit for a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func page(s *command.Spec) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s", s.Name, generatedNote)
	describeSpec(&b, s)
	for _, sub := range s.Sub {
		fmt.Fprintf(&b, "\n## %s %s\n\n", s.Name, sub.Name)
		describeSpec(&b, sub)
	}
	return b.Bytes()
}

// routeWords say what a proxy does with a command.
var routeWords = map[command.Route]string{
	command.RouteKeys:       "sent to the shard of its keys, which must be one",
	command.RouteMultiShard: "split over the shards of its keys",
	command.RouteAllShards:  "sent to all shards",
	command.RouteAllNodes:   "sent to all nodes",
	command.RouteAny:        "sent to any one shard",
	command.RouteLocal:      "answered by the proxy",
	command.RoutePinned:     "sent over a connection of the client's own",
	command.RouteCursor:     "walks the shards one after another",
}

func describeSpec(b *bytes.Buffer, s *command.Spec) {
	fmt.Fprintf(b, "%s\n\n", s.Summary)
	if len(s.Sub) == 0 || s.Arity == -1 {
		fmt.Fprintf(b, "    %s\n\n", s.Syntax)
	}
	fmt.Fprintf(b, "- since %s; group %s; arity %d\n", s.Since, s.Group, s.Arity)
	fmt.Fprintf(b, "- complexity: %s\n", strings.TrimSuffix(s.Complexity, "."))
	if names := s.Flags.Names(); len(names) > 0 {
		fmt.Fprintf(b, "- flags: %s\n", strings.Join(names, ", "))
	}
	fmt.Fprintf(b, "- categories: @%s\n", strings.Join(s.Categories(), ", @"))
	if len(s.Sub) == 0 {
		if s.Route == command.RouteDenied {
			fmt.Fprintf(b, "- proxy: refused: %s\n", s.DeniedReason)
		} else {
			fmt.Fprintf(b, "- proxy: %s\n", routeWords[s.Route])
		}
	}
	if s.Differs != "" {
		fmt.Fprintf(b, "- differs from Redis: %s\n", s.Differs)
	}
}
