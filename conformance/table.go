package conformance

// Profiles that rows are limited to.
var (
	mainOnly    = []string{"main"}
	withCounter = []string{"main", "03"}
)

// table is what the suite checks, one row per requirement, in the order of the
// run: rows that judge all answers of the run come last. Columns: id, section,
// level, requirement, profiles (nil: all), destructive, check.
var table = []Case{
	// A. HTTP surface, discovery by HEAD.
	{"WHEP-HTTP-01", "4.1", MUST, "GET on the endpoint succeeds and carries no content", nil, false, checkEndpointGet},
	{"WHEP-HTTP-02", "4.1", MUST, "GET on a live session succeeds and carries no content", nil, false, checkSessionGet},
	{"WHEP-HTTP-04", "RFC 9110 15.5.6", DERIVED, "Methods that are not supported get 405 with Allow", nil, false, checkMethods},
	{"WHEP-HTTP-06", "5", MUST, "HTTPS is used", nil, false, checkHTTPS},
	{"WHEP-DISC-01", "4.2", SHOULD, "HEAD on the endpoint is answered with 200", mainOnly, false, checkHead},
	{"WHEP-DISC-02", "4.2", SHOULD, "The answer to HEAD carries Content-Type: application/sdp", mainOnly, false, checkHeadType},
	{"WHEP-DISC-03", "4.2, RFC 9110 9.3.2", MUST, "HEAD returns the same header fields as GET", mainOnly, false, checkHeadSame},
	{"WHEP-DISC-04", "4.2", MUST, "The answer to HEAD has no body", mainOnly, false, checkHeadBody},

	// B. Offer intake.
	{"WHEP-OFFER-01", "4.3, 4.3.1", MUST, "POST of an offer is answered with 201 and an SDP answer, or with a counter-offer", nil, false, checkPost},
	{"WHEP-OFFER-02", "4.3.4", MUST, "Any other media type is refused with 4xx", nil, false, checkMediaType},
	{"WHEP-OFFER-03", "RFC 9110 8.3.1", DERIVED, "Media types are compared without case and parameters", nil, false, checkMediaTypeForms},
	{"WHEP-OFFER-04", "4.3.4", MUST, "Malformed SDP is refused with 4xx", nil, false, checkMalformed},
	{"WHEP-OFFER-05", "4.3.5", SHOULD, "A sendrecv offer is served, with sendonly answers", nil, false, checkSendrecv},
	{"WHEP-OFFER-06", "4.3.5", MUST, "A sendonly or inactive offer makes no session", nil, false, checkWrongDirection},
	{"WHEP-OFFER-07", "4.5.2, RFC 8863", MAY, "Offers with all, some and no candidates all connect", nil, false, checkCandidateAmounts},
	{"WHEP-OFFER-08", "4.6.2", MUST, "There is media, and never two tracks of a kind", nil, false, checkTrackCounts},
	{"WHEP-OFFER-09", "RFC 9429 5.3.1", DERIVED, "A section without a common codec is rejected on its own", nil, false, checkPartlyUnsupported},
	{"WHEP-OFFER-10", "RFC 9429 5.3.1, 4.6.2", DERIVED, "An offer of which nothing can be served is refused", nil, false, checkUnsupported},
	{"WHEP-OFFER-11", "-", POLICY, "A data-channel section does not break playback", nil, false, checkDataChannel},
	{"WHEP-OFFER-12", "4.6.1, RFC 9429 5.3.1", DERIVED, "Audio-only, video-only and audio+video offers work as far as the stream has the kind", nil, false, checkKinds},
	{"WHEP-OFFER-13", "4.6.1", MUST, "An offer without rtcp-mux is refused", nil, false, checkNoMux},
	{"WHEP-OFFER-14", "4.6.1", MUST, "An offer of two sections without BUNDLE is refused", nil, false, checkNoBundle},
	{"WHEP-OFFER-15", "RFC 9143 6, 4.3.7", DERIVED, "A bundle-only section on port 0 is live; port 0 alone is disabled", nil, false, checkBundleOnly},
	{"WHEP-OFFER-16", "RFC 9429 5.3.1, RFC 5763", DERIVED, "setup actpass, active and passive are honoured", nil, false, checkSetups},
	{"WHEP-OFFER-17", "RFC 9429 5.2.1", DERIVED, "Transport attributes may sit at session level, or only in the tagged section", nil, false, checkAttributeLevels},
	{"WHEP-OFFER-18", "RFC 9429 5.8, RFC 9143", DERIVED, "Offers without ICE credentials, fingerprint or mid are refused", nil, false, checkIncomplete},
	{"WHEP-OFFER-19", "RFC 8866 5", DERIVED, "The parser takes LF, unknown attributes, codecs and extensions, and any mid", nil, false, checkParser},
	{"WHEP-OFFER-20", "4.6.1", POLICY, "A missing rtcp-mux-only in the offer is tolerated", nil, false, checkNoMuxOnly},
	{"WHEP-OFFER-21", "-", POLICY, "The size of the body is bounded, at more than 128 KiB", nil, false, checkBodySize},

	// C. The 201 response.
	{"WHEP-ANS-01", "4.3.1", MUST, "Success is 201 Created", nil, false, checkCreated},
	{"WHEP-ANS-02", "4.3.1", MUST, "The answer is of Content-Type application/sdp", nil, false, checkAnswerType},
	{"WHEP-ANS-03", "4.3.1", MUST, "Location points to the new session", nil, false, checkLocation},
	{"WHEP-ANS-04", "RFC 9110 10.2.2", POLICY, "Location is path-absolute and has no query", nil, false, checkLocationForm},
	{"WHEP-ANS-05", "4.3.1, RFC 9429 5.3.1", MUST, "The body is a valid initial answer to the offer", nil, false, checkAnswerValid},
	{"WHEP-ANS-06", "4.5.2", MUST, "The answer holds all candidates of the server", nil, false, checkAnswerCandidates},
	{"WHEP-ANS-07", "4.5.1", MUST, "With ICE restart, 201 carries a strong ETag", nil, false, checkETag},
	{"WHEP-ANS-08", "4.3", DERIVED, "Each POST makes a session of its own", nil, false, checkOwnSessions},
	{"WHEP-ANS-09", "-", POLICY, "The answer is small and prompt", nil, false, checkPrompt},

	// D. The SDP answer.
	{"WHEP-SDP-01", "4.3.5", MUST, "Every accepted section is sendonly", nil, false, checkSendonly},
	{"WHEP-SDP-02", "4.6.1, RFC 9143", MUST, "One BUNDLE group holds exactly the accepted mids", nil, false, checkBundle},
	{"WHEP-SDP-03", "RFC 9429 5.3.1", DERIVED, "Mids are echoed unchanged", nil, false, checkMids},
	{"WHEP-SDP-04", "4.6.1", MUST, "Every accepted section has rtcp-mux", nil, false, checkMux},
	{"WHEP-SDP-05", "4.6.1, RFC 8858 4.3", MUST, "Every bundled section has rtcp-mux-only (contested: at most WARN)", nil, false, checkMuxOnly},
	{"WHEP-SDP-06", "4.6.2, RFC 8830", MUST, "Every section has an msid, of one stream", nil, false, checkMsid},
	{"WHEP-SDP-07", "4.6.2", MUST, "There is at least one track, and at most one of a kind", nil, false, checkTracks},
	{"WHEP-SDP-08", "RFC 9429 5.3.1", DERIVED, "setup is active or passive; to actpass better active", nil, false, checkSetup},
	{"WHEP-SDP-09", "RFC 8839 5.4, RFC 8122", DERIVED, "ICE credentials are long enough and the fingerprint is that of DTLS", nil, false, checkCredentials},
	{"WHEP-SDP-10", "RFC 9143 7.1.3", DERIVED, "Repeated transport attributes are identical", nil, false, checkSameTransport},
	{"WHEP-SDP-11", "RFC 3264 6.1", DERIVED, "Payload types keep the meaning of the offer", nil, false, checkPayloadTypes},
	{"WHEP-SDP-12", "RFC 6184 8.2.2", DERIVED, "H.264 answers keep the packetization-mode and a compatible profile", nil, false, checkH264Modes},
	{"WHEP-SDP-13", "RFC 9429 5.3.1", DERIVED, "No bundle-only in an answer (contested: at most WARN)", nil, false, checkNoBundleOnly},
	{"WHEP-SDP-14", "RFC 9429 5.3.1", DERIVED, "Only what was offered is answered: extmap, rtcp-fb, rtcp-rsize, no crypto", nil, false, checkSubset},
	{"WHEP-SDP-15", "RFC 9429 5.3.1, RFC 9143", DERIVED, "The tagged section is accepted, also when the stream lacks the kind", nil, false, checkTagged},
	{"WHEP-SDP-16", "RFC 8839, RFC 5761", DERIVED, "No candidates of component 2 (at most WARN)", nil, false, checkComponents},
	{"WHEP-SDP-17", "4.6.3", MAY, "ICE lite only with reachable host candidates", nil, false, checkLite},
	{"WHEP-SDP-18", "RFC 8838, RFC 8445 10", DERIVED, "ice-options announce trickle and ice2", nil, false, checkICEOptions},
	{"WHEP-SDP-19", "3, 4.5.3", MUST, "Sections never change after the exchange", nil, false, checkNoRenegotiation},

	// E. Availability, load, redirects.
	{"WHEP-AVAIL-01", "4.3.8", MUST, "A stream that is not live is answered with 409 and Retry-After", nil, false, checkIdle},
	{"WHEP-AVAIL-02", "RFC 9110", DERIVED, "An unknown stream is answered with 404", nil, false, checkUnknownStream},
	{"WHEP-AVAIL-03", "4.7", MAY, "Overload is answered with 503", nil, true, checkOverload},
	{"WHEP-LB-02", "4.7", SHOULD, "POST is balanced with 307", nil, false, checkBalancing},

	// F. Counter-offer.
	{"WHEP-CTR-01", "4.3.2", MUST, "A counter-offer is 406 with an SDP offer and Location", withCounter, false, checkCounter},
	{"WHEP-CTR-02", "4.3.2, RFC 9429 5.2.1", MUST, "The counter-offer is a valid initial offer", withCounter, false, checkCounterValid},
	{"WHEP-CTR-03", "4.3.5", MUST, "The counter-offer is sendonly, never inactive or recvonly", withCounter, false, checkCounterDirection},
	{"WHEP-CTR-04", "4.3.2", MUST, "valid-until is an HTTP-date", withCounter, false, checkCounterUntil},
	{"WHEP-CTR-05", "4.3.2", DERIVED, "Without valid-until a counter-offer lives for 30 s", withCounter, true, checkCounterExpiry},
	{"WHEP-CTR-06", "4.3.2", MUST, "PATCH with the answer gives 204, then media", withCounter, false, checkCounterPlay},
	{"WHEP-CTR-07", "4.3.2", MUST, "A malformed answer is refused with 4xx", withCounter, false, checkCounterMalformed},
	{"WHEP-CTR-08", "-", POLICY, "The answer is accepted only once", withCounter, false, checkCounterOnce},
	{"WHEP-CTR-09", "4.5.1", POLICY, "The 406 carries an ETag", withCounter, false, checkCounterTag},
	{"WHEP-CTR-10", "4.4", DERIVED, "A pending counter-offer can be deleted", withCounter, false, checkCounterDelete},

	// G. PATCH: trickle ICE.
	{"WHEP-TRK-01", "4.5", SHOULD, "Sessions support trickle ICE and ICE restart", nil, false, checkICESupport},
	{"WHEP-TRK-02", "4.5.2", MUST, "New candidates are answered with 204, no body, no ETag", nil, false, checkTrickle},
	{"WHEP-TRK-03", "4.5.1", MUST, "Other media types are refused with 4xx", nil, false, checkPatchType},
	{"WHEP-TRK-04", "4.5.1", MUST, "Malformed fragments are refused with 4xx", nil, false, checkFragments},
	{"WHEP-TRK-05", "4.5.1, RFC 6585 3", MUST, "A missing If-Match is answered with 428", nil, false, checkNoIfMatch},
	{"WHEP-TRK-06", "4.5.1, RFC 9110 13.1.1", MUST, "A foreign entity-tag is answered with 412", nil, false, checkWrongIfMatch},
	{"WHEP-TRK-07", "RFC 9110 13.1.1", DERIVED, "If-Match may be a list or *, and is compared strongly", nil, false, checkIfMatchGrammar},
	{"WHEP-TRK-08", "4.5.1", MUST, "Unsupported trickle or restart gives 422, unsupported PATCH 405", nil, false, checkPatchUnsupported},
	{"WHEP-TRK-09", "4.5.2", MUST, "Unusable candidates are dropped silently", nil, false, checkUnusableCandidates},
	{"WHEP-TRK-10", "4.5.2, RFC 8840", MUST, "All spellings of fragments are understood", nil, false, checkFragmentForms},
	{"WHEP-TRK-11", "4.5.2", DERIVED, "A trickled candidate is tried", nil, false, checkCandidateTried},
	{"WHEP-TRK-12", "4.5.1, 4.5.2", MAY, "Overlapping and repeated PATCHes are fine", nil, false, checkParallelPatches},
	{"WHEP-TRK-13", "RFC 8840", DERIVED, "A fragment of only end-of-candidates is legal", nil, false, checkEndOfCandidates},
	{"WHEP-TRK-14", "RFC 9110", DERIVED, "PATCH on an unknown or ended session gives 404", nil, false, checkPatchUnknown},
	{"WHEP-TRK-15", "RFC 5789 3.1", POLICY, "Accept-Patch names the fragment type", nil, false, checkAcceptPatch},

	// H. PATCH: ICE restart.
	{"WHEP-RST-01", "4.5.3", MUST, "New credentials restart ICE: 200 with new credentials of the server", nil, false, checkRestart},
	{"WHEP-RST-02", "4.5.3", MUST, "The 200 carries a new strong ETag", nil, false, checkRestartTag},
	{"WHEP-RST-03", "4.5.3", MUST, "The 200 holds the server's candidates", nil, false, checkRestartCandidates},
	{"WHEP-RST-04", "4.5.3", MUST, "ice-options, ice-pacing and ice-lite are repeated", nil, false, checkRestartAttributes},
	{"WHEP-RST-05", "4.5.3", MUST, "The wildcard is understood with and without quotes", nil, false, checkRestartWildcard},
	{"WHEP-RST-06", "4.5.3", MUST, "Remote candidates are replaced, not merged", nil, false, checkRestartReplaces},
	{"WHEP-RST-07", "4.5.3", MUST, "DTLS, SSRC, payload type and sequence survive", nil, false, checkRestartKeeps},
	{"WHEP-RST-08", "4.5.3", MUST, "A restart that cannot be done leaves the old ICE session", nil, false, checkRestartRefused},
	{"WHEP-RST-09", "4.5.3", DERIVED, "Of restarts in quick succession the last wins", nil, false, checkRestartBurst},
	{"WHEP-RST-10", "4.5.3, RFC 7675 5.1", MUST, "When consent expires after a restart the session ends", nil, true, checkRestartConsent},

	// I. ICE, DTLS, consent, end of session.
	{"WHEP-ICE-01", "4.6.3", SHOULD, "Full ICE, unless every viewer can reach the server", nil, false, checkFullICE},
	{"WHEP-ICE-02", "4.3.8, RFC 7675", MUST, "A vanished player is noticed by consent freshness", nil, true, checkConsent},
	{"WHEP-ICE-03", "4.3.8", MUST, "DTLS teardown by the player ends the session", nil, false, checkTeardown},
	{"WHEP-ICE-04", "4.4, RFC 7675 5.2", MUST, "DELETE revokes consent at once", nil, false, checkRevocation},
	{"WHEP-ICE-05", "RFC 8827", DERIVED, "A certificate that is not the offered one gets no media", nil, false, checkFingerprint},
	{"WHEP-ICE-06", "5", POLICY, "Sessions that never connect are released", nil, true, checkNeverConnected},
	{"WHEP-DEL-01", "4.4", MUST, "DELETE ends the session with 200", nil, false, checkDelete},
	{"WHEP-DEL-02", "4.5.1", MUST, "Entity-tags sent with DELETE are ignored", nil, false, checkDeleteTag},
	{"WHEP-DEL-03", "RFC 9110", DERIVED, "A repeated or unknown DELETE gives 404", nil, false, checkDeleteAgain},
	{"WHEP-DEL-04", "4.4", DERIVED, "DELETE works in every phase", nil, false, checkDeletePhases},

	// J. CORS and OPTIONS.
	{"WHEP-CORS-01", "4.4, FETCH", MUST, "The endpoint answers preflights", nil, false, checkPreflight},
	{"WHEP-CORS-02", "4.4", SHOULD, "OPTIONS gives 200 with Accept-Post: application/sdp", nil, false, checkAcceptPost},
	{"WHEP-CORS-03", "FETCH", DERIVED, "Sessions answer preflights for PATCH and DELETE", nil, false, checkSessionPreflight},
	{"WHEP-CORS-04", "4.9.1, FETCH", DERIVED, "Preflights need no credentials", nil, false, checkPreflightFree},
	{"WHEP-CORS-06", "FETCH", DERIVED, "Scripts may read Location, ETag and Link", nil, false, checkExposed},
	{"WHEP-CORS-07", "-", POLICY, "A bare OPTIONS lists the methods, PATCH among them", nil, false, checkBareOptions},

	// K. Authentication.
	{"WHEP-AUTH-01", "4.9", MUST, "Bearer tokens work on endpoint and sessions", nil, false, checkToken},
	{"WHEP-AUTH-02", "RFC 9110 11.6.1, RFC 6750 3", DERIVED, "A missing token gives 401 with WWW-Authenticate: Bearer", nil, false, checkNoToken},
	{"WHEP-AUTH-03", "RFC 6750 3.1", DERIVED, "A wrong token gives 401 or 403", nil, false, checkWrongToken},
	{"WHEP-AUTH-04", "4.9, 4.9.1", MAY, "Sessions may demand the token too; a wrong one is refused", nil, false, checkSessionToken},
	{"WHEP-AUTH-05", "RFC 9110 11.1", DERIVED, "The name of the scheme has no case", nil, false, checkSchemeCase},
	{"WHEP-AUTH-06", "4.9.1", MAY, "With a token in the URL, Location works without the query", nil, false, checkURLToken},
	{"WHEP-AUTH-07", "-", POLICY, "An unneeded Authorization field is ignored", nil, false, checkNeedlessToken},
	{"WHEP-AUTH-08", "4.1", POLICY, "The token is checked before body, media type and stream", nil, false, checkTokenFirst},

	// L. ICE server hints.
	{"WHEP-TURN-01", "4.8, RFC 9725 4.6", MAY, "ICE servers are Links with rel=ice-server and a valid URI", nil, false, checkICEServers},
	{"WHEP-TURN-02", "RFC 9725 4.6", DERIVED, "TURN links carry username and credential", nil, false, checkTURNCredentials},
	{"WHEP-TURN-03", "RFC 9725 4.6", SHOULD, "A preflight response carries no ICE servers", nil, false, checkPreflightLinks},
	{"WHEP-TURN-04", "-", POLICY, "Each link is a line of its own, in the usual order", nil, false, checkLinkForm},

	// M. Extensions.
	{"WHEP-EXT-01", "4.10", MUST, "Each extension is announced once, by its URN", nil, false, checkExtensions},
	{"WHEP-EXT-02", "4.10", MUST, "No extension is required", nil, false, checkExtensionsFree},
	{"WHEP-EXT-03", "-", POLICY, "Extension links do not appear on OPTIONS", nil, false, checkOptionsLinks},

	// N. Security and resource control.
	{"WHEP-SEC-01", "5", SHOULD, "The rate of POST is limited", nil, true, checkPostRate},
	{"WHEP-SEC-02", "5, RFC 4086", SHOULD, "Session URLs cannot be guessed", nil, false, checkGuessing},
	{"WHEP-SEC-03", "5", SHOULD, "Floods of DELETE and PATCH harm nobody", nil, true, checkFloods},
	{"WHEP-SEC-04", "5", POLICY, "Floods of candidates are bounded", nil, true, checkCandidateFlood},
	{"WHEP-SEC-05", "5", DERIVED, "A session id works only for its own stream", nil, false, checkCrossStream},

	// O. Media.
	{"WHEP-MED-01", "4.3.1", DERIVED, "RTP arrives on every accepted section", nil, false, checkMedia},
	{"WHEP-MED-02", "RFC 8834", DERIVED, "A viewer gets a decodable picture at once, and PLI yields a key frame", nil, false, checkKeyframes},
	{"WHEP-MED-03", "RFC 8834", DERIVED, "Sender reports come, and NACK is answered", nil, false, checkFeedback},
	{"WHEP-MED-04", "RFC 7742, RFC 6184", DERIVED, "H.264 has the negotiated profile and no B-frames", nil, false, checkH264},
	{"WHEP-MED-05", "RFC 9143 9.2", DERIVED, "The MID extension is sent when negotiated, and SSRCs are distinct", nil, false, checkDemux},

	// P. Tolerance towards clients in the field.
	{"WHEP-TOL-01", "-", POLICY, "HTTP/1.0, Expect, chunked bodies and reused connections work", nil, false, checkHTTPForms},
	{"WHEP-TOL-02", "-", POLICY, "Trailing and double slashes do not break POST", nil, false, checkSlashes},
	{"WHEP-TOL-03", "-", POLICY, "The retired mode of an empty POST fails cleanly", nil, false, checkEmptyPost},
	{"WHEP-TOL-04", "-", POLICY, "PATCHes of old clients fail cleanly", nil, false, checkOldPatches},
	{"WHEP-TOL-05", "-", POLICY, "JSON POSTs to the session give 405", nil, false, checkOldPosts},
	{"WHEP-TOL-06", "-", POLICY, "Players that just vanish leave nothing behind", nil, true, checkVanished},

	// Recorded players, with their habits.
	{"PLAYER-CHROMIUM", "-", POLICY, "Chromium plays: mDNS candidates, preflights", nil, false, replay("chromium")},
	{"PLAYER-FIREFOX", "-", POLICY, "Firefox plays: no loopback, TCP candidates", nil, false, replay("firefox")},
	{"PLAYER-MEDIAMTX", "-", POLICY, "MediaMTX plays: OPTIONS first, candidates by PATCH, each named twice", nil, false, replay("mediamtx")},
	{"PLAYER-GSTREAMER", "-", POLICY, "GStreamer plays: bundle-only on port 0, named mids, OPUS", nil, false, replay("gstreamer")},
	{"PLAYER-AIORTC", "-", POLICY, "aiortc plays: credentials per section", nil, false, replay("aiortc")},
	{"PLAYER-GO2RTC", "-", POLICY, "go2rtc plays: H.264 and H.265 only", nil, false, replay("go2rtc")},

	// Rows that judge all answers of the run.
	{"WHEP-HTTP-03", "4.1, RFC 9457", MAY, "Problem details of errors are well formed", nil, false, checkProblems},
	{"WHEP-HTTP-05", "RFC 9110", DERIVED, "A refused request leaves no session behind", nil, false, checkRefusedLocation},
	{"WHEP-LB-01", "4.7", MUST, "301 and 302 are never used", nil, false, checkMoved},
	{"WHEP-LB-03", "4.7", DERIVED, "PATCH and DELETE are never redirected", nil, false, checkFinalURLs},
	{"WHEP-CORS-05", "FETCH", DERIVED, "All answers, errors included, carry Access-Control-Allow-Origin", nil, false, checkAllowOrigin},
}
