package conformance_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"deskwhep/conformance"
)

// The test of a server of one's own. This one needs a server that runs, so it is
// compiled and not run.
func ExampleRun() {
	report, err := conformance.Run(context.Background(), conformance.Options{
		URL:   "http://127.0.0.1:8080/whep",
		Token: "sesame",
		Only:  []string{"WHEP-ANS", "WHEP-CORS"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := conformance.WriteTable(os.Stdout, report); err != nil {
		log.Fatal(err)
	}
	if report.Failed() {
		fmt.Println(report.Count(conformance.FAIL), "cases fail")
	}
}
