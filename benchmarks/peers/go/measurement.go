// Package peers measures client-go as benchmarks/measurement.py measures Python: the same figures, read the same way.
package peers

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SettleDuration is the time between the end of the work and the reading of the steady memory.
const SettleDuration = time.Second

// Measurement is one stretch of work.
type Measurement struct {
	started          time.Time
	cpu              float64
	rss, peak        int
	wall, cpuSeconds float64
}

func statusKiB(field string) int {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			value, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				panic(err)
			}
			return value
		}
	}
	panic("no " + field)
}

// CPUSeconds is the user and system time of this process so far.
func CPUSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// Begin starts a measurement, just before the first request.
func Begin() *Measurement {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // resets VmHWM
		panic(err)
	}
	return &Measurement{started: time.Now(), cpu: CPUSeconds(), rss: statusKiB("VmRSS")}
}

// End is called when the work is done.
func (m *Measurement) End() {
	m.wall = time.Since(m.started).Seconds()
	m.cpuSeconds = CPUSeconds() - m.cpu
	m.peak = statusKiB("VmHWM")
}

// Report prints the figures as one line of JSON, with the cache still held.
func (m *Measurement) Report(objects int) {
	line, err := json.Marshal(map[string]any{
		"objects":      objects,
		"wall_seconds": m.wall,
		"cpu_seconds":  m.cpuSeconds,
		"steady_mb":    float64(statusKiB("VmRSS")-m.rss) / 1024,
		"peak_mb":      float64(m.peak-m.rss) / 1024,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}
