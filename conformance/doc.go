// Package conformance checks a WHEP endpoint from outside, as a player would:
// over HTTP(S), ICE, DTLS and SRTP, with nothing but its URL and perhaps a token.
//
// Run goes through the table of cases (see [Cases]); each has the id of a
// requirement, the section it comes from, a level, and a check that leaves
// findings with evidence: the request, the answer's status and fields, the SDP
// line. A Report can be written as a table, as JSON and as JUnit XML.
//
// # Texts
//
// Sections are those of the WHEP working-group text (draft-ietf-wish-whep,
// state of 2026-04-29), profile "main". Profiles "03" to "00" leave out or turn
// around what older drafts said otherwise. Levels are those of the text; DERIVED
// rows follow from a document it refers to, POLICY rows are what players in the
// field need. A violated MUST or DERIVED row is FAIL, SHOULD is WARN, MAY and
// POLICY are INFO, and a feature that is optional and absent is SKIP.
//
// # Manners
//
// The tester holds few sessions at once, bounds requests and time of each case,
// waits when told to by 429 or 503, and deletes every session it made, also
// when it fails or is cancelled. Cases that flood, or that wait long for a
// session to expire, are marked destructive and run only when asked for.
//
// # Adding a case
//
// Write one row in table.go: id, section, level, one sentence, check. The check
// is a function of *T in the file of its group:
//
//	func checkSomething(t *T) {
//		s := t.play(t.offer())                 // posts and connects, or skips the case
//		got := t.get(s.url)                    // every exchange is recorded as evidence
//		t.require(got.ok(), got, "answer GET on a session with 200")
//	}
//
// t.require judges by the level of the row; fail, warn and note override it;
// skip and t.play end the case when what it depends on is missing, so that one
// defect is reported once. Sessions end with the case. Then give the fixture
// server of the tests a defect that the case must catch, and name it in the
// test's map: a case that cannot fail is not a case.
package conformance
