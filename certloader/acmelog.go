package certloader

import "go.uber.org/zap/zapcore"

// failures is where certmagic logs to: what fails in the background is passed
// on, and the rest of its many lines is dropped.
type failures struct{ report func(step string, err error) }

// Enabled implements zapcore.LevelEnabler.
func (failures) Enabled(level zapcore.Level) bool { return level >= zapcore.ErrorLevel }

// With implements zapcore.Core.
func (f failures) With([]zapcore.Field) zapcore.Core { return f }

// Check implements zapcore.Core.
func (f failures) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	// What an issuer says comes back to the one who asked, who logs it too.
	if !f.Enabled(entry.Level) || entry.Message == "could not get certificate from issuer" {
		return checked
	}
	return checked.AddCore(entry, f)
}

// Write implements zapcore.Core.
func (f failures) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	var cause error
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok {
			cause = err
		}
	}
	f.report(entry.Message, cause)
	return nil
}

// Sync implements zapcore.Core.
func (failures) Sync() error { return nil }
