package main

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Tally is counted in from all processors. How it is compiled is the level's matter: with GOARM64=v8.0,lse an
// addition is one LDADDAL, which a Cortex-A53 does not have; with GOAMD64=v2 and above bits are counted by POPCNT.
//
// atomic.Uint64 is aligned to 8 bytes everywhere; a plain uint64 behind a uint32 is not on 32-bit ARM, where
// atomic.AddUint64 then panics.
type Tally struct {
	total atomic.Uint64
	odd   atomic.Uint64
}

func countTogether(workers, times int) *Tally {
	tally := &Tally{}
	var group sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for step := 0; step < times; step++ {
				tally.total.Add(1)
				tally.odd.Add(uint64(bits.OnesCount(uint(step^worker)) & 1))
			}
		}(worker)
	}
	group.Wait()
	return tally
}
