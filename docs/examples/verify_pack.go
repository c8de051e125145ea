// Checks an exported pack without Bailiwick, by Go's own transparency-log packages, golang.org/x/mod/sumdb/{note,tlog}:
// the head's signature, every entry, every tile, what proves single entries, and that older heads are beginnings of it.
//
// Formats: C2SP signed-note, tlog-checkpoint and tlog-tiles, RFC 6962. It needs Go 1.19 and that module, which Debian has as
// golang-go and golang-golang-x-mod-dev:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run verify_pack.go pack "acme.example/prod/1+e4ef4428+Af7u..." [older-checkpoint]...
//
// Exit status: 0 it is what was signed, 1 it is not, or it cannot be checked.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Height of the tiles: 256 hashes, and as many entries to a bundle.
const height = 8
const width = 1 << height

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "verify_pack PACK KEY [OLDER-CHECKPOINT]...")
		os.Exit(1)
	}
	said, err := verify(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT VERIFIED:", err)
		os.Exit(1)
	}
	fmt.Println(said)
}

func verify(pack, key string, older []string) (string, error) {
	head, err := readHead(filepath.Join(pack, "checkpoint"), key)
	if err != nil {
		return "", err
	}
	hashes, records, err := hashEntries(pack, head.N)
	if err != nil {
		return "", err
	}
	if root, err := tlog.TreeHash(head.N, hashes); err != nil || head.N > 0 && root != head.Hash {
		return "", fmt.Errorf("the entries are not the ones that were signed")
	}
	// From here on the hashes of the entries are known to be right: each tile has to be the one that they make.
	tiles := tilesOf(head.N)
	for _, tile := range tiles {
		right, err := tlog.ReadTileData(tile, hashes)
		if err != nil {
			return "", err
		}
		found, err := os.ReadFile(tilePath(pack, tile))
		if err != nil {
			return "", err
		}
		if !bytes.Equal(found, right) {
			return "", fmt.Errorf("%s is not the tile of the entries", tilePath(pack, tile))
		}
	}
	proofs, err := prove(pack, head, records)
	if err != nil {
		return "", err
	}
	for _, file := range older {
		if err := proveBeginning(pack, key, file, head); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
	}
	return fmt.Sprintf("%d entries, %d tiles, %d proofs, %d older heads: all of it is what was signed", head.N, len(tiles), proofs, len(older)), nil
}

// readHead opens a checkpoint that this key has signed.
func readHead(file, key string) (tlog.Tree, error) {
	var none tlog.Tree
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return none, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return none, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return none, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return none, fmt.Errorf("it is not origin, size and root alone")
	}
	if lines[0] != verifier.Name() {
		return none, fmt.Errorf("it is the head of another log, %q", lines[0])
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return none, fmt.Errorf("its size is no number")
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return none, err
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// stored holds the hashes of a tree in the order in which package tlog numbers them.
type stored []tlog.Hash

func (hashes stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for at, index := range indexes {
		if index < 0 || index >= int64(len(hashes)) {
			return nil, fmt.Errorf("there is no hash %d", index)
		}
		found[at] = hashes[index]
	}
	return found, nil
}

// hashEntries hashes every entry of every bundle; gives all hashes of the tree, and those of the entries alone.
func hashEntries(pack string, size int64) (stored, []tlog.Hash, error) {
	var hashes stored
	var records []tlog.Hash
	for bundle := int64(0); bundle*width < size; bundle++ {
		tile := tlog.Tile{H: height, L: 0, N: bundle, W: width}
		if rest := size - bundle*width; rest < width {
			tile.W = int(rest)
		}
		path := strings.Replace(tilePath(pack, tile), "/tile/0/", "/tile/entries/", 1)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		for entry := 0; entry < tile.W; entry++ {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, nil, fmt.Errorf("%s is cut short at entry %d", path, len(records))
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			record := tlog.RecordHash(data[2:end])
			more, err := tlog.StoredHashesForRecordHash(int64(len(records)), record, hashes)
			if err != nil {
				return nil, nil, err
			}
			hashes, records, data = append(hashes, more...), append(records, record), data[end:]
		}
		if len(data) > 0 {
			return nil, nil, fmt.Errorf("%s has bytes behind its last entry", path)
		}
	}
	return hashes, records, nil
}

// tilesOf lists the tiles of a tree: all full ones, and of each level the last.
func tilesOf(size int64) []tlog.Tile {
	var tiles []tlog.Tile
	for level := 0; size>>(height*level) > 0; level++ {
		hashes := size >> (height * level)
		for index := int64(0); index*width < hashes; index++ {
			tile := tlog.Tile{H: height, L: level, N: index, W: width}
			if rest := hashes - index*width; rest < width {
				tile.W = int(rest)
			}
			tiles = append(tiles, tile)
		}
	}
	return tiles
}

// tilePath is where tlog-tiles has a tile: as package tlog names it, without the height.
func tilePath(pack string, tile tlog.Tile) string {
	return filepath.Join(pack, strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
}

// prove has package tlog prove the first and the last entry of each bundle from the tiles, as a client of the log would.
func prove(pack string, head tlog.Tree, records []tlog.Hash) (int, error) {
	reader := tlog.TileHashReader(head, files(pack))
	proofs := 0
	for index := int64(0); index < head.N; index++ {
		if index%width != 0 && index%width != width-1 && index != head.N-1 {
			continue
		}
		proof, err := tlog.ProveRecord(head.N, index, reader)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(proof, head.N, head.Hash, index, records[index]); err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
		proofs++
	}
	return proofs, nil
}

// proveBeginning checks that an older head is a beginning of the log.
func proveBeginning(pack, key, file string, head tlog.Tree) error {
	older, err := readHead(file, key)
	if err != nil {
		return err
	}
	if older.N > head.N {
		return fmt.Errorf("it covers %d entries, the pack %d", older.N, head.N)
	}
	if older.N == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(head.N, older.N, tlog.TileHashReader(head, files(pack)))
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, head.N, head.Hash, older.N, older.Hash)
}

// files reads the tiles of a pack for package tlog.
type files string

func (pack files) Height() int { return height }

func (pack files) SaveTiles([]tlog.Tile, [][]byte) {}

func (pack files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	read := make([][]byte, len(tiles))
	for at, tile := range tiles {
		data, err := os.ReadFile(tilePath(string(pack), tile))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has not %d hashes", tile.Path(), tile.W)
		}
		read[at] = data
	}
	return read, nil
}
