package encoding

// LibrariesRow is the key of the row that changes with every change of a library.
var LibrariesRow = []byte{byte(TableSystem), 'v'}

// AppendLibrary appends the row of a library of functions; its value is the source.
func AppendLibrary(dst, name []byte) []byte {
	return append(append(dst, byte(TableSystem), 'f'), name...)
}
