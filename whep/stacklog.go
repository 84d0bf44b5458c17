package whep

import (
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// stackLogs gives the WebRTC stack's messages to the log, as debug: what
// matters of them the sessions report themselves.
type stackLogs struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (l stackLogs) NewLogger(scope string) logging.LeveledLogger {
	return stackLog{l.log.With("stack", scope)}
}

type stackLog struct{ log *slog.Logger }

func (l stackLog) Trace(string)          {}
func (l stackLog) Tracef(string, ...any) {}
func (l stackLog) Debug(string)          {}
func (l stackLog) Debugf(string, ...any) {}
func (l stackLog) Info(msg string)       { l.log.Debug(msg) }
func (l stackLog) Warn(msg string)       { l.log.Debug(msg) }
func (l stackLog) Error(msg string)      { l.log.Debug(msg) }

func (l stackLog) Infof(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l stackLog) Warnf(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l stackLog) Errorf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
