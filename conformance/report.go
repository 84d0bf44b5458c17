package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Finding is one thing that a check found, and what to do about it.
type Finding struct {
	Verdict  Verdict  `json:"verdict"`
	Fix      string   `json:"fix"` // one sentence; for SKIP the reason
	Evidence []string `json:"evidence,omitempty"`
}

// Result of one case. Its verdict is the worst of its findings, PASS without any.
type Result struct {
	ID       string        `json:"id"`
	Section  string        `json:"section"`
	Level    Level         `json:"level"`
	Requires string        `json:"requires"`
	Verdict  Verdict       `json:"verdict"`
	Findings []Finding     `json:"findings,omitempty"`
	Evidence []string      `json:"evidence,omitempty"` // the last exchanges and what was seen
	Took     time.Duration `json:"took_ns"`
}

// Report of a run.
type Report struct {
	URL     string        `json:"url"`
	Profile string        `json:"profile"`
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Results []Result      `json:"results"`
}

// Count returns how many results have the verdict.
func (r *Report) Count(v Verdict) (n int) {
	for _, result := range r.Results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// Failed tells whether any case failed. Warnings are not failures.
func (r *Report) Failed() bool { return r.Count(FAIL) > 0 }

// WriteTable writes one line per case, then what to fix with its evidence, worst
// first, then why cases were not checked, then the counts.
func WriteTable(w io.Writer, r *Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "WHEP conformance of %s, profile %s\n", r.URL, r.Profile)
	fmt.Fprint(&b, "MUST, SHOULD and MAY are the text's own words. DERIVED follows from a document that it refers to. POLICY is what players need.\n\n")
	for _, result := range r.Results {
		fmt.Fprintf(&b, "%-4s  %-18s %-8s %s\n", result.Verdict, result.ID, result.Level, result.Requires)
	}
	for _, v := range []Verdict{FAIL, WARN, INFO} {
		if r.Count(v) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", map[Verdict]string{
			FAIL: "Must be fixed:", WARN: "Should be fixed:", INFO: "Worth knowing:",
		}[v])
		for _, result := range r.Results {
			writeFindings(&b, result, v)
		}
	}
	writeSkipped(&b, r)
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// writeFindings writes the findings of a result that made its verdict v.
func writeFindings(b *strings.Builder, result Result, v Verdict) {
	if result.Verdict != v {
		return
	}
	for _, f := range result.Findings {
		if f.Verdict != v {
			continue
		}
		section := ""
		if result.Section != "-" { // it comes from no document
			section = " (" + result.Section + ")"
		}
		fmt.Fprintf(b, "  %s%s: %s\n", result.ID, section, f.Fix)
		for _, line := range f.Evidence {
			fmt.Fprintf(b, "      %s\n", line)
		}
	}
}

// writeSkipped writes each reason for which cases were not checked, and which.
func writeSkipped(b *strings.Builder, r *Report) {
	var reasons []string
	ids := map[string][]string{}
	for _, result := range r.Results {
		for _, f := range result.Findings {
			if result.Verdict != SKIP || f.Verdict != SKIP {
				continue
			}
			if ids[f.Fix] == nil {
				reasons = append(reasons, f.Fix)
			}
			ids[f.Fix] = append(ids[f.Fix], result.ID)
		}
	}
	if len(reasons) > 0 {
		b.WriteString("\nNot checked:\n")
	}
	for _, reason := range reasons {
		fmt.Fprintf(b, "  %s:\n      %s\n", reason, strings.Join(ids[reason], ", "))
	}
}

func (r *Report) summary() string {
	counts := make([]string, 0, len(verdicts))
	for _, v := range verdicts {
		counts = append(counts, fmt.Sprintf("%d %s", r.Count(v), v))
	}
	return fmt.Sprintf("%d cases in %s: %s", len(r.Results), r.Took.Round(time.Second), strings.Join(counts, ", "))
}

// WriteJSON writes the whole report.
func WriteJSON(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

type junitSuite struct {
	XMLName   xml.Name    `xml:"testsuite"`
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Class     string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Skipped   *junitMessage `xml:"skipped"`
	Failure   *junitMessage `xml:"failure"`
	SystemOut string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML: FAIL is a failure, SKIP is skipped,
// and everything else passed, with findings in system-out.
func WriteJUnit(w io.Writer, r *Report) error {
	suite := junitSuite{
		Name: "WHEP " + r.Profile + " " + r.URL, Tests: len(r.Results),
		Failures: r.Count(FAIL), Skipped: r.Count(SKIP),
		Time: seconds(r.Took), Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, result := range r.Results {
		c := junitCase{Name: result.ID + " " + result.Requires, Class: "whep." + group(result.ID), Time: seconds(result.Took)}
		text := make([]string, 0, len(result.Findings))
		message := ""
		for _, f := range result.Findings {
			if f.Verdict == result.Verdict && message == "" {
				message = f.Fix
			}
			text = append(text, string(f.Verdict)+": "+f.Fix)
			text = append(text, f.Evidence...)
		}
		body := printable(strings.Join(text, "\n"))
		switch result.Verdict {
		case FAIL:
			c.Failure = &junitMessage{Message: printable(message), Type: string(result.Level), Text: body}
		case SKIP:
			c.Skipped = &junitMessage{Message: printable(message)}
		default:
			c.SystemOut = body
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// group is the middle of an id: WHEP-SDP-01 is of group SDP.
func group(id string) string {
	parts := strings.Split(id, "-")
	if len(parts) < 3 {
		return strings.ToLower(parts[0])
	}
	return parts[1]
}

// printable replaces what a target may send but a report must not hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || (r >= ' ' && r != 0x7f && r != '\ufffe' && r != '\uffff') {
			return r
		}
		return '\ufffd'
	}, strings.ToValidUTF8(s, "\ufffd"))
}
