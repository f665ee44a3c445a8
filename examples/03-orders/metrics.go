package main

import (
	"fmt"
	"io"
	"sort"
	"sync"
	"time"
)

var bounds = []float64{0.001, 0.005, 0.025, 0.1, 0.5, 2.5}

type requestKey struct {
	route, method string
	status        int
}

type histogram struct {
	counts []uint64
	sum    float64
	total  uint64
}

// metrics counts requests and writes them in Prometheus' text format, without a library.
type metrics struct {
	mutex     sync.Mutex
	requests  map[requestKey]uint64
	durations map[string]*histogram
}

func newMetrics() *metrics {
	return &metrics{requests: map[requestKey]uint64{}, durations: map[string]*histogram{}}
}

func (m *metrics) observe(route, method string, status int, took time.Duration) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.requests[requestKey{route, method, status}]++
	found := m.durations[route]
	if found == nil {
		found = &histogram{counts: make([]uint64, len(bounds))}
		m.durations[route] = found
	}
	seconds := took.Seconds()
	found.sum += seconds
	found.total++
	for at, bound := range bounds {
		if seconds <= bound {
			found.counts[at]++
		}
	}
}

func (m *metrics) write(w io.Writer, orders int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	fmt.Fprintf(w, "# HELP orders_created_total Orders taken.\n# TYPE orders_created_total counter\n")
	fmt.Fprintf(w, "orders_created_total %d\n", orders)
	fmt.Fprintf(w, "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n")
	keys := make([]requestKey, 0, len(m.requests))
	for key := range m.requests {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
	for _, key := range keys {
		fmt.Fprintf(w, "http_requests_total{route=%q,method=%q,status=\"%d\"} %d\n",
			key.route, key.method, key.status, m.requests[key])
	}
	fmt.Fprintf(w, "# HELP http_request_duration_seconds Time to answer.\n")
	fmt.Fprintf(w, "# TYPE http_request_duration_seconds histogram\n")
	routes := make([]string, 0, len(m.durations))
	for route := range m.durations {
		routes = append(routes, route)
	}
	sort.Strings(routes)
	for _, route := range routes {
		found := m.durations[route]
		for at, bound := range bounds {
			fmt.Fprintf(w, "http_request_duration_seconds_bucket{route=%q,le=\"%g\"} %d\n",
				route, bound, found.counts[at])
		}
		fmt.Fprintf(w, "http_request_duration_seconds_bucket{route=%q,le=\"+Inf\"} %d\n",
			route, found.total)
		fmt.Fprintf(w, "http_request_duration_seconds_sum{route=%q} %g\n", route, found.sum)
		fmt.Fprintf(w, "http_request_duration_seconds_count{route=%q} %d\n", route, found.total)
	}
}
