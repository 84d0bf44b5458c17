package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"deskwhep/whep"
)

// The metrics, which docs/metrics.md explains. What is counted elsewhere is read
// when it is asked for.
var (
	infoDesc     = describe("build_info", "The version that runs; always 1.", "version")
	viewersDesc  = describe("viewers", "Sessions at this moment.", "stream")
	cardDesc     = describe("card", "Whether viewers see the card instead of the screen.", "stream")
	framesDesc   = describe("captured_frames_total", "Frames that were captured.", "stream")
	unitsDesc    = describe("encoded_frames_total", "Pictures that left the encoders.", "stream", "codec")
	bytesDesc    = describe("encoded_bytes_total", "Bytes of the encoded pictures, each counted once however many watch.", "stream", "codec")
	droppedDesc  = describe("encoder_dropped_frames_total", "Pictures that the encoders dropped to hold the rate.", "stream", "codec")
	failuresDesc = describe("encoder_failures_total", "Errors of the encoders.", "stream", "codec")
	keysDesc     = describe("keyframes_total", "Key frames among the encoded pictures.", "stream", "codec")
	requestsDesc = describe("keyframe_requests_total", "Requests for key frames.", "stream", "codec", "reason")
	answersDesc  = describe("keyframe_answers_total", "What became of the requests: served by a key frame of their own, merged with one that was owed already, or answered from the cache.", "stream", "codec", "outcome")
	timeDesc     = describe("encode_seconds", "Time that a picture takes to encode, smoothed.", "stream", "codec")
	rttDesc      = describe("viewer_rtt_seconds", "Round trips of the viewers who watch at this moment.", "stream")
	lossDesc     = describe("viewer_loss_ratio", "Shares of lost packets, as those viewers last reported.", "stream")
	rateDesc     = describe("viewer_bits_per_second", "Rates of video sent to those viewers.", "stream")
	waitDesc     = describe("viewer_queue_seconds", "How long the oldest picture has waited to be sent to each of those viewers.", "stream")
	sessionsDesc = describe("sessions_total", "Sessions that have begun.", "stream")
	packetsDesc  = describe("packets_total", "Packets of video sent to all viewers: for the first time, or again because one was lost.", "stream", "kind")
	nackedDesc   = describe("nacked_packets_total", "Packets that players asked for again.", "stream")
	sentDesc     = describe("sent_bytes_total", "Bytes of video in the packets sent for the first time.", "stream")
	undoneDesc   = describe("dropped_pictures_total", "Pictures not sent to a viewer for want of time or room.", "stream")
	intervalDesc = describe("frame_interval_seconds", "Shortest time between pictures; it grows while encoding takes too long.", "stream", "codec")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("deskwhep_"+name, help, labels, nil)
}

// metrics serves what Prometheus collects.
func (s *site) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s, s.timings.join, s.timings.fanout, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Describe implements prometheus.Collector.
func (s *site) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, viewersDesc, cardDesc, framesDesc, unitsDesc, bytesDesc, droppedDesc,
		failuresDesc, keysDesc, requestsDesc, answersDesc, timeDesc, intervalDesc, sessionsDesc, packetsDesc, nackedDesc, sentDesc, undoneDesc, rttDesc, lossDesc, rateDesc, waitDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *site) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(infoDesc, 1, version)
	viewers := map[string][]whep.ViewerStatus{}
	for _, v := range s.server.ViewerStatus() {
		viewers[v.Stream] = append(viewers[v.Stream], v)
	}
	totals := s.server.Totals()
	for _, on := range s.shows {
		status := on.feed.Status()
		sent := totals[on.name]
		counter(sessionsDesc, sent.Sessions, on.name)
		counter(packetsDesc, sent.Packets, on.name, "media")
		counter(packetsDesc, sent.Repaired, on.name, "repair")
		counter(nackedDesc, sent.Nacked, on.name)
		counter(sentDesc, sent.Bytes, on.name)
		counter(undoneDesc, sent.Dropped, on.name)
		gauge(viewersDesc, float64(len(viewers[on.name])), on.name)
		overViewers(out, on.name, viewers[on.name])
		card := 0.0
		if status.Trouble != "" {
			card = 1
		}
		gauge(cardDesc, card, on.name)
		counter(framesDesc, status.Frames, on.name)
		for codec, t := range on.encoded.Totals() {
			labels := []string{on.name, string(codec)}
			counter(unitsDesc, t.Units, labels...)
			counter(bytesDesc, t.Bytes, labels...)
			counter(droppedDesc, t.Dropped, labels...)
			counter(failuresDesc, t.Failures, labels...)
			counter(keysDesc, t.Keys, labels...)
			for reason, n := range t.KeyReasons {
				counter(requestsDesc, n, on.name, string(codec), reason)
			}
			for outcome, n := range map[string]uint64{"served": t.Keys, "merged": t.KeysMerged, "cache": t.KeysCached} {
				counter(answersDesc, n, on.name, string(codec), outcome)
			}
		}
		shown := map[string]bool{} // two sizes of a codec are one series
		for _, h := range on.encoded.Status() {
			if h.Running && !shown[string(h.Codec)] {
				shown[string(h.Codec)] = true
				gauge(timeDesc, h.EncodeTime.Seconds(), on.name, string(h.Codec))
				gauge(intervalDesc, h.Interval.Seconds(), on.name, string(h.Codec))
			}
		}
	}
}

// timings collects how long things took since the program began; it is a
// whep.Observer.
type timings struct{ join, fanout *prometheus.HistogramVec }

func newTimings() timings {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "deskwhep_" + name, Help: help, Buckets: buckets}, labels)
	}
	return timings{
		join:   histogram("join_seconds", "From a POST to each phase of its session.", joinBuckets, "stream", "phase"),
		fanout: histogram("fanout_seconds", "From a picture's turn to be sent until all of it has left for a viewer, for each picture and viewer.", fanoutBuckets, "stream"),
	}
}

// Joined implements whep.Observer.
func (t timings) Joined(stream string, p whep.Phase, after time.Duration) {
	t.join.WithLabelValues(stream, string(p)).Observe(after.Seconds())
}

// Sent implements whep.Observer.
func (t timings) Sent(stream string) func(after time.Duration) {
	of := t.fanout.WithLabelValues(stream)
	return func(after time.Duration) { of.Observe(after.Seconds()) }
}

// The limits of the histograms' buckets.
var (
	rttBuckets  = []float64{.001, .003, .01, .03, .1, .3, 1}
	lossBuckets = []float64{0, .001, .003, .01, .03, .1, .3}
	rateBuckets = []float64{0, 30e3, 100e3, 300e3, 1e6, 3e6, 10e6, 30e6}
	waitBuckets = []float64{0, .003, .01, .03, .1, .3, 1}
	joinBuckets = []float64{.003, .01, .03, .06, .1, .2, .4, 1, 3, 10}

	fanoutBuckets = []float64{.0003, .001, .003, .01, .03, .1, .3, 1}
)

// overViewers makes histograms over the viewers of a stream at this moment: no
// series belongs to one viewer.
func overViewers(out chan<- prometheus.Metric, stream string, viewers []whep.ViewerStatus) {
	for _, h := range []struct {
		desc    *prometheus.Desc
		buckets []float64
		value   func(v *whep.ViewerStatus) float64
	}{
		{rttDesc, rttBuckets, func(v *whep.ViewerStatus) float64 { return v.RTT / 1000 }},
		{lossDesc, lossBuckets, func(v *whep.ViewerStatus) float64 { return v.Loss }},
		{rateDesc, rateBuckets, func(v *whep.ViewerStatus) float64 { return v.Rate }},
		{waitDesc, waitBuckets, func(v *whep.ViewerStatus) float64 { return v.Queue / 1000 }},
	} {
		below := map[float64]uint64{}
		sum, count := 0.0, uint64(0)
		for _, limit := range h.buckets {
			below[limit] = 0
		}
		for i := range viewers {
			if !viewers[i].Connected {
				continue
			}
			v := h.value(&viewers[i])
			sum += v
			count++
			for _, limit := range h.buckets {
				if v <= limit {
					below[limit]++
				}
			}
		}
		out <- prometheus.MustNewConstHistogram(h.desc, count, sum, below, stream)
	}
}
