package main

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"deskwhep/whep"
)

// TestMetrics watches a stream and reads the metrics: each is documented, and
// those that must have moved have.
func TestMetrics(t *testing.T) {
	p := startProgram(t, "", "--codecs", "vp8")
	player := startPlayer(t, p.url+"/whep/card", nil)
	player.frame(t)
	player.frame(t) // before it was sent, the first one was counted
	metrics, _ := request(t, http.MethodGet, p.url+"/metrics", "", "", "", http.StatusOK)
	for _, want := range []string{
		`deskwhep_viewers{stream="card"} 1`, `deskwhep_viewers{stream="desktop"} 0`, `deskwhep_build_info{version="dev"} 1`,
		`deskwhep_keyframe_requests_total{codec="vp8",reason="join",stream="card"} 1`,
		`deskwhep_sessions_total{stream="card"} 1`, `deskwhep_join_seconds_count{phase="post",stream="card"} 1`,
		`deskwhep_join_seconds_count{phase="ice",stream="card"} 1`, `deskwhep_join_seconds_count{phase="dtls",stream="card"} 1`,
		`deskwhep_join_seconds_count{phase="first_picture",stream="card"} 1`,
		`deskwhep_keyframe_answers_total{codec="vp8",outcome="served",stream="card"} 1`, `deskwhep_viewer_rtt_seconds_count{stream="card"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, moved := range []string{
		`deskwhep_encoded_bytes_total{codec="vp8",stream="card"}`, `deskwhep_packets_total{kind="media",stream="card"}`,
		`deskwhep_fanout_seconds_count{stream="card"}`,
	} {
		if series(t, metrics, moved) == 0 {
			t.Errorf("%s is 0", moved)
		}
	}
	text, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, served []string
	for _, m := range regexp.MustCompile("`(deskwhep_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (deskwhep_[a-z_]+)`).FindAllStringSubmatch(metrics, -1) {
		served = append(served, m[1])
		if !slices.Contains(documented, m[1]) {
			t.Errorf("docs/metrics.md lacks %s", m[1])
		}
	}
	for _, name := range documented {
		if !slices.Contains(served, name) && name != "deskwhep_" {
			t.Errorf("docs/metrics.md tells of %s, which is not served", name)
		}
	}

	var list struct{ Viewers []whep.ViewerStatus }
	get(t, p.url+"/viewers", http.StatusOK, &list)
	if len(list.Viewers) != 1 || list.Viewers[0].Stream != "card" || list.Viewers[0].Packets == 0 {
		t.Errorf("the viewers are %+v", list.Viewers)
	}
	var health struct {
		Status  string
		Viewers int
	}
	get(t, p.url+"/healthz", http.StatusOK, &health)
	if health.Status != "ok" || health.Viewers != 1 {
		t.Errorf("the health is %+v", health)
	}

	const packets = `deskwhep_packets_total{kind="media",stream="card"}`
	request(t, http.MethodDelete, p.url+"/viewers/"+list.Viewers[0].Session, "", "", "", http.StatusNoContent)
	after, _ := request(t, http.MethodGet, p.url+"/metrics", "", "", "", http.StatusOK)
	if series(t, after, packets) < series(t, metrics, packets) {
		t.Error("the packets of a session that has ended are forgotten")
	}
}

// series is the value of a series.
func series(t *testing.T, metrics, name string) float64 {
	t.Helper()
	_, rest, _ := strings.Cut(metrics, "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(line, 64)
	if err != nil {
		t.Errorf("there is no %s", name)
	}
	return v
}
