package option

import (
	"errors"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"haypile/internal/keyevent"
)

// SavePoint is one pair of the save option.
type SavePoint struct {
	Every   time.Duration
	Changes int64
}

// Address is a host and a port; the zero value means none.
type Address struct {
	Host string
	Port int
}

// IsZero reports whether there is no address.
func (a Address) IsZero() bool { return a.Host == "" }

// String returns host:port for a dialer; empty if there is none.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

// OutputLimit bounds what may wait to be sent to one client. Zero means no bound.
type OutputLimit struct {
	Hard    int64         // bytes at which the client is disconnected at once
	Soft    int64         // bytes that may not be exceeded for longer than SoftFor
	SoftFor time.Duration // whole seconds
}

// OutputLimits are the limits of the client classes.
type OutputLimits struct{ Normal, Replica, PubSub OutputLimit }

// Shutdown says how a signal ends the process. The zero value is the default.
type Shutdown struct{ Save, NoSave, Now, Force bool }

// Texts of Redis that are too long to stand in place.
var (
	errOutputLimit = errors.New(
		"Error in hard, soft or soft_seconds setting in buffer limit configuration.")
	errPercentileRange = errors.New(
		"latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
)

// wordsRules take any words, up to a number of them.
func wordsRules(limit int, tooMany string, check func(word string) error) listRules {
	return listRules{parse: func(_, words []string) ([]string, any, error) {
		if len(words) == 1 && words[0] == "" {
			words = nil
		}
		if len(words) > limit {
			return nil, nil, errors.New(tooMany)
		}
		for _, w := range words {
			if err := check(w); err != nil {
				return nil, nil, err
			}
		}
		words = append([]string(nil), words...)
		return words, words, nil
	}}
}

// checkBind accepts an address, a host name or *, each with Redis' leading - for "may be absent".
func checkBind(word string) error {
	if strings.TrimPrefix(word, "-") == "" || strings.ContainsAny(word, " \t\r\n\"'") {
		return errors.New("Invalid bind address")
	}
	return nil
}

func checkHostPort(word string) error {
	host, port, err := net.SplitHostPort(word)
	if err != nil || host == "" {
		return errors.New("argument(s) must be addresses of the form host:port")
	}
	if n, err := strictInt(port); err != nil || n < 1 || n > 65535 {
		return errors.New("Invalid port in " + word)
	}
	return nil
}

// maxSavePoints bounds the work of reading many lines that add up.
const maxSavePoints = 100

var saveRules = listRules{
	parse: func(old, words []string) ([]string, any, error) {
		if len(words) == 0 || (len(words) == 1 && words[0] == "") {
			return nil, []SavePoint(nil), nil
		}
		words = append(append([]string(nil), old...), words...)
		if len(words)%2 != 0 || len(words) > 2*maxSavePoints {
			return nil, nil, errors.New("Invalid save parameters")
		}
		var points []SavePoint
		for i := 0; i < len(words); i += 2 {
			secs, err1 := strictInt(words[i])
			changes, err2 := strictInt(words[i+1])
			if err1 != nil || err2 != nil || secs < 1 || secs > math.MaxInt32 ||
				changes < 0 || changes > math.MaxInt32 {
				return nil, nil, errors.New("Invalid save parameters")
			}
			points = append(points, SavePoint{time.Duration(secs) * time.Second, changes})
		}
		return words, points, nil
	},
	lines: func(words, _ []string) [][]string {
		var lines [][]string
		for ; len(words) > 0; words = words[2:] {
			lines = append(lines, words[:2])
		}
		return lines
	},
}

// outputClasses are the client classes in the order in which CONFIG GET prints them, and by which name:
// Redis prints the old name of the replica class in CONFIG GET and the new one in files.
var outputClasses = []struct{ shown, inFile string }{
	{"normal", "normal"}, {"slave", "replica"}, {"pubsub", "pubsub"},
}

var outputLimitRules = listRules{parse: parseOutputLimits, lines: outputLimitLines, keep: true}

func parseOutputLimits(old, words []string) ([]string, any, error) {
	var limits [3]OutputLimit
	if len(words) == 1 && words[0] == "" {
		words = nil
	}
	words = append(append([]string(nil), old...), words...)
	if len(words)%4 != 0 {
		return nil, nil, errors.New("Wrong number of arguments in buffer limit configuration.")
	}
	for ; len(words) > 0; words = words[4:] {
		class := strings.ToLower(words[0])
		at := -1
		for i, c := range outputClasses {
			if class == c.shown || class == c.inFile {
				at = i
			}
		}
		if at < 0 {
			return nil, nil, errors.New("Invalid client class specified in buffer limit configuration.")
		}
		hard, err1 := ParseBytes(words[1])
		soft, err2 := ParseBytes(words[2])
		secs, err3 := strictInt(words[3])
		if err1 != nil || err2 != nil || err3 != nil || secs < 0 || secs > math.MaxInt32 {
			return nil, nil, errOutputLimit
		}
		limits[at] = OutputLimit{hard, soft, time.Duration(secs) * time.Second}
	}
	var canonical []string
	for i, c := range outputClasses {
		l := limits[i]
		canonical = append(canonical, c.shown, strconv.FormatInt(l.Hard, 10), strconv.FormatInt(l.Soft, 10),
			strconv.FormatInt(int64(l.SoftFor/time.Second), 10))
	}
	return canonical, OutputLimits{limits[0], limits[1], limits[2]}, nil
}

// outputLimitLines writes only the classes that differ from the default; all of them if def is nil.
func outputLimitLines(words, def []string) [][]string {
	var lines [][]string
	for i, c := range outputClasses {
		w := words[i*4 : i*4+4]
		if def != nil && strings.Join(w, " ") == strings.Join(def[i*4:i*4+4], " ") {
			continue
		}
		hard, _ := ParseBytes(w[1])
		soft, _ := ParseBytes(w[2])
		lines = append(lines, []string{c.inFile, FormatBytes(hard), FormatBytes(soft), w[3]})
	}
	return lines
}

var replicaofRules = listRules{parse: func(_, words []string) ([]string, any, error) {
	switch {
	case len(words) == 0 || (len(words) == 1 && words[0] == ""):
		return nil, Address{}, nil
	case len(words) == 2 && strings.EqualFold(words[0], "no") && strings.EqualFold(words[1], "one"):
		return nil, Address{}, nil
	case len(words) == 1: // Pika writes host:port
		host, port, err := net.SplitHostPort(words[0])
		if err != nil {
			return nil, nil, errWrongNumber
		}
		words = []string{host, port}
	case len(words) != 2:
		return nil, nil, errWrongNumber
	}
	port, err := strictInt(words[1])
	if err != nil || port < 0 || port > 65535 || words[0] == "" {
		return nil, nil, errors.New("Invalid master port")
	}
	return []string{words[0], words[1]}, Address{words[0], int(port)}, nil
}}

var percentileRules = listRules{parse: func(_, words []string) ([]string, any, error) {
	if len(words) == 1 && words[0] == "" {
		words = nil
	}
	var canonical []string
	var list []float64
	for _, w := range words {
		f, err := strconv.ParseFloat(w, 64)
		if err != nil || math.IsNaN(f) {
			return nil, nil, errors.New("Invalid latency-tracking-info-percentiles parameters")
		}
		if f < 0 || f > 100 {
			return nil, nil, errPercentileRange
		}
		canonical = append(canonical, strconv.FormatFloat(f, 'f', -1, 64))
		list = append(list, f)
	}
	return canonical, list, nil
}}

var classRules = listRules{parse: func(_, words []string) ([]string, any, error) {
	c, err := keyevent.Parse(strings.Join(words, " "))
	if err != nil {
		return nil, nil, err
	}
	return []string{c.String()}, c, nil
}}

var shutdownWords = []string{"default", "save", "nosave", "now", "force"}

var shutdownRules = listRules{parse: func(_, words []string) ([]string, any, error) {
	var how Shutdown
	if len(words) == 0 {
		return nil, nil, errNotOneOf(shutdownWords)
	}
	for _, w := range words {
		switch strings.ToLower(w) {
		case "default":
		case "save":
			how.Save = true
		case "nosave":
			how.NoSave = true
		case "now":
			how.Now = true
		case "force":
			how.Force = true
		default:
			return nil, nil, errNotOneOf(shutdownWords)
		}
	}
	if how.Save && how.NoSave {
		return nil, nil, errors.New("shutdown options SAVE and NOSAVE can't be used simultaneously")
	}
	var canonical []string
	for i, on := range []bool{how == Shutdown{}, how.Save, how.NoSave, how.Now, how.Force} {
		if on {
			canonical = append(canonical, shutdownWords[i])
		}
	}
	return canonical, how, nil
}}
