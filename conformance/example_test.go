package conformance

import (
	"context"
	"fmt"
	"testing"
)

// Run the cases about the 201 response against a server, and count the verdicts.
func Example() {
	var t testing.B // only for its Cleanup
	server := startFixture(&t, fixtureOptions{})
	report, err := Run(context.Background(), Options{URL: server.endpoint(), Only: []string{"WHEP-ANS"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range []Verdict{PASS, WARN, FAIL} {
		fmt.Println(report.Count(v), v)
	}
	// Output:
	// 9 PASS
	// 0 WARN
	// 0 FAIL
}
