// The classic program in Go, as a peer: requesters that send requests with
// their own reply channels, a balancer goroutine with a heap of workers ordered
// by pending, workers that report on a done channel.
//
// usage: classic WORKERS REQUESTERS MILLISECONDS; prints requests per second.
package main

import (
	"container/heap"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

type request struct {
	n     uint64
	reply chan uint64
}

type worker struct {
	requests chan request
	pending  int
	index    int
}

// pool is a heap of workers, the least loaded first.
type pool []*worker

func (p pool) Len() int           { return len(p) }
func (p pool) Less(i, j int) bool { return p[i].pending < p[j].pending }

func (p pool) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].index, p[j].index = i, j
}

func (p *pool) Push(x any) {
	w := x.(*worker)
	w.index = len(*p)
	*p = append(*p, w)
}

func (p *pool) Pop() any {
	last := len(*p) - 1
	w := (*p)[last]
	*p = (*p)[:last]
	return w
}

func (w *worker) run(done chan<- *worker) {
	for r := range w.requests {
		r.reply <- r.n * 3
		done <- w
	}
}

func balance(p pool, work <-chan request, done <-chan *worker) {
	for {
		select {
		case r := <-work:
			w := heap.Pop(&p).(*worker)
			w.requests <- r
			w.pending++
			heap.Push(&p, w)
		case w := <-done:
			w.pending--
			heap.Fix(&p, w.index)
		}
	}
}

func main() {
	var args [3]int
	for i := range args {
		n, err := strconv.Atoi(os.Args[i+1])
		if err != nil {
			panic(err)
		}
		args[i] = n
	}
	workers, requesters, milliseconds := args[0], args[1], args[2]
	work := make(chan request)
	done := make(chan *worker, requesters)
	var p pool
	for i := 0; i < workers; i++ {
		w := &worker{requests: make(chan request, requesters)}
		heap.Push(&p, w)
		go w.run(done)
	}
	go balance(p, work, done)

	var answered atomic.Uint64
	ended := make(chan struct{})
	begun := time.Now()
	limit := time.Duration(milliseconds) * time.Millisecond
	for i := 0; i < requesters; i++ {
		go func() {
			reply := make(chan uint64)
			var count uint64
			for time.Since(begun) < limit {
				for n := uint64(0); n < 16; n++ {
					work <- request{n, reply}
					if <-reply != n*3 {
						panic("wrong answer")
					}
					count++
				}
			}
			answered.Add(count)
			ended <- struct{}{}
		}()
	}
	for i := 0; i < requesters; i++ {
		<-ended
	}
	fmt.Printf("%.0f\n", float64(answered.Load())/time.Since(begun).Seconds())
}
