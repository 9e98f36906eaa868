package storage

// Metrics is what INFO and the metrics page show of the engine. Sizes in bytes.
type Metrics struct {
	DiskBytes      uint64
	MemtableBytes  uint64
	CacheBytes     int64
	CacheHits      int64
	CacheMisses    int64
	Flushes        int64
	Compactions    int64
	CompactionDebt uint64
	L0Sublevels    int32
	ReadAmp        int
	WriteStalls    int64
	Stalled        bool
}

// Metrics reads them; it takes the engine's lock for a moment.
func (e *Engine) Metrics() Metrics {
	m := e.db.Metrics()
	return Metrics{
		DiskBytes:      m.DiskSpaceUsage(),
		MemtableBytes:  m.MemTable.Size,
		CacheBytes:     m.BlockCache.Size,
		CacheHits:      m.BlockCache.Hits,
		CacheMisses:    m.BlockCache.Misses,
		Flushes:        m.Flush.Count,
		Compactions:    m.Compact.Count,
		CompactionDebt: m.Compact.EstimatedDebt,
		L0Sublevels:    m.Levels[0].Sublevels,
		ReadAmp:        m.ReadAmp(),
		WriteStalls:    e.stalls.count.Load(),
		Stalled:        e.stalls.active.Load() != 0,
	}
}
