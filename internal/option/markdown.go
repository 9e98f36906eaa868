package option

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// markdownIntro stands above the options in docs/config.md.
const markdownIntro = `# Configuration

This page is generated from the option table (` + "`haypile docs`" + `); do not edit it.

## File and command line

    haypile server [/path/to/haypile.conf | -] [--name value ...]

The file has one option per line: a name, a space, a value. Values with spaces, or empty ones, stand in
quotes: "double" ones know
` + "`\\n \\r \\t \\b \\a \\xHH \\\" \\\\`" + `, 'single' ones only ` + "`\\'`" + `.
A line that begins with # is a comment. Where an option stands twice, the last line wins; lines of options
marked *several lines* add up. ` + "`include`" + ` reads another file, or several by a pattern, at that place;
relative paths count from the working directory.
` + "`user`" + ` lines belong to access control. ` + "`-`" + `
reads the file from standard input.

The command line takes the same options with two dashes and overrides the file:
` + "`haypile server --port 6380 --replicaof \"10.0.0.1 6379\" --save \"\"`" + `.

An option that does not exist, or a value that does not fit, stops the start with file, line and reason.

Memory sizes are whole numbers with an optional unit: k, m, g are powers of 1000; kb, mb, gb of 1024.

CONFIG SET changes options while the node runs, several at once or none. CONFIG REWRITE brings the file to the
current values and keeps comments and order.

`

// Markdown returns docs/config.md.
func Markdown() []byte {
	var b strings.Builder
	b.WriteString(markdownIntro)
	for _, g := range groups {
		fmt.Fprintf(&b, "## %s\n\n", g)
		for _, s := range Specs() {
			if s.Group == g && !s.Hidden {
				s.markdown(&b)
			}
		}
	}
	b.WriteString("## Options of other servers\n\n")
	b.WriteString("These names of Redis and Pika are refused, with this advice; ")
	b.WriteString("* stands for any other ending.\n\n")
	b.WriteString("| option | instead |\n|---|---|\n")
	names := make([]string, 0, len(foreign))
	for name := range foreign {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, foreign[name])
	}
	return []byte(b.String())
}

func (s *Spec) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "### %s\n\n%s\n\n", s.Name, s.Help)
	facts := []string{s.describeType(), "default " + s.describeDefault()}
	if s.Multi {
		facts = append(facts, "several lines")
	}
	if s.Immutable {
		facts = append(facts, "fixed at start")
	} else {
		facts = append(facts, "CONFIG SET")
	}
	if s.Sensitive {
		facts = append(facts, "masked in messages")
	}
	facts = append(facts, "since "+s.Since)
	fmt.Fprintf(b, "- %s\n", strings.Join(facts, "; "))
	if len(s.Aliases) > 0 {
		fmt.Fprintf(b, "- also called `%s`\n", strings.Join(s.Aliases, "`, `"))
	}
	if s.DiffersFromRedis != "" {
		fmt.Fprintf(b, "- differs from Redis: %s\n", s.DiffersFromRedis)
	}
	b.WriteByte('\n')
}

func (s *Spec) describeDefault() string {
	if s.Default == "" {
		return "empty"
	}
	return "`" + s.Default + "`"
}

// unitNames are the units that a duration's number may count.
var unitNames = map[time.Duration]string{
	time.Second: "seconds", time.Millisecond: "milliseconds", time.Microsecond: "microseconds",
}

func (s *Spec) describeType() string {
	switch s.Type {
	case TypeEnum:
		return "one of `" + strings.Join(s.Enum, "`, `") + "`"
	case TypeInt:
		return fmt.Sprintf("integer, %d to %s", s.Min, describeMax(s.Max))
	case TypeOctal:
		return fmt.Sprintf("octal integer, %o to %o", s.Min, s.Max)
	case TypeDuration:
		return fmt.Sprintf("%s, %d to %s", unitNames[s.Unit], s.Min, describeMax(s.Max))
	case TypeMemory:
		return fmt.Sprintf("memory size, %s to %s", FormatBytes(s.Min), describeMax(s.Max))
	case TypeShare:
		return "memory size, or percentage (`25%`)"
	}
	return s.Type.String()
}

// describeMax leaves out limits that are only those of the number's type.
func describeMax(n int64) string {
	switch {
	case n >= 1<<50:
		return "no limit"
	case n >= 1<<20 && n%(1<<20) == 0:
		return FormatBytes(n)
	}
	return fmt.Sprint(n)
}
