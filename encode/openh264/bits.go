//go:build !noopenh264

package openh264

import "bytes"

// headers reads from a stream, in Annex B, the quantizers of its pictures, which
// the library does not tell. It knows what the library writes: one slice a
// picture, baseline profile, no weights, no field coding (H.264 clause 7.3).
type headers struct {
	frameNum, order int // bits of frame_num and pic_order_cnt_lsb; no order: 0
	initial         int // pic_init_qp
}

const (
	nalSlice    = 1
	nalIDR      = 5
	nalSequence = 7
	nalPicture  = 8
)

// quantizer is that with which the last slice of a picture begins, 0 to 51;
// false if there is none.
func (h *headers) quantizer(picture []byte) (q int, ok bool) {
	for {
		at := bytes.Index(picture, []byte{0, 0, 1})
		if at < 0 || at+4 > len(picture) {
			return q, ok
		}
		picture = picture[at+3:]
		r := reader{data: picture[1:]}
		switch picture[0] & 0x1f {
		case nalSequence:
			h.sequence(&r)
		case nalPicture:
			h.picture(&r)
		case nalSlice, nalIDR:
			q = h.slice(&r, picture[0]&0x1f == nalIDR, picture[0]&0x60 != 0)
			if ok = r.ok(); !ok {
				return 0, false
			}
			return q, true
		}
	}
}

func (h *headers) sequence(r *reader) {
	r.bits(24) // profile and level
	r.number() // seq_parameter_set_id
	h.frameNum = r.number() + 4
	h.order = 0
	if r.number() == 0 { // pic_order_cnt_type
		h.order = r.number() + 4
	}
}

func (h *headers) picture(r *reader) {
	r.number() // pic_parameter_set_id
	r.number() // seq_parameter_set_id
	r.bits(2)  // entropy_coding_mode_flag, bottom_field_pic_order...
	r.number() // num_slice_groups_minus1: 0
	r.number() // num_ref_idx_l0_default_active_minus1
	r.number() // num_ref_idx_l1_default_active_minus1
	r.bits(3)  // weighted_pred_flag, weighted_bipred_idc
	h.initial = 26 + r.signed()
}

func (h *headers) slice(r *reader, idr, reference bool) (quantizer int) {
	r.number() // first_mb_in_slice
	inter := r.number()%5 == 0
	r.number() // pic_parameter_set_id
	r.bits(h.frameNum)
	if idr {
		r.number() // idr_pic_id
	}
	r.bits(h.order)
	if inter {
		if r.bits(1) == 1 { // num_ref_idx_active_override_flag
			r.number()
		}
		if r.bits(1) == 1 { // ref_pic_list_modification_flag_l0
			for r.ok() && r.number() != 3 {
				r.number()
			}
		}
	}
	switch {
	case reference && idr:
		r.bits(2) // no_output_of_prior_pics_flag, long_term_reference_flag
	case reference && r.bits(1) == 1: // adaptive_ref_pic_marking_mode_flag
		for op := r.number(); r.ok() && op != 0; op = r.number() {
			if op != 5 {
				r.number()
			}
			if op == 3 {
				r.number()
			}
		}
	}
	return h.initial + r.signed()
}

// reader reads a NAL unit's payload bit by bit. Beyond its end there are zeros.
type reader struct {
	data []byte
	bit  int // of data
	zero int // bytes of zeros in a row before bit
	over bool
}

func (r *reader) ok() bool { return !r.over }

func (r *reader) one() int {
	if r.bit/8 >= len(r.data) {
		r.over = true
		return 0
	}
	if r.bit%8 == 0 {
		if r.zero >= 2 && r.data[r.bit/8] == 3 { // emulation_prevention_three_byte
			r.bit, r.zero = r.bit+8, 0
			return r.one()
		}
		if r.zero++; r.data[r.bit/8] != 0 {
			r.zero = 0
		}
	}
	b := r.data[r.bit/8] >> (7 - r.bit%8) & 1
	r.bit++
	return int(b)
}

func (r *reader) bits(n int) (v int) {
	for range n {
		v = v<<1 | r.one()
	}
	return v
}

// number reads ue(v).
func (r *reader) number() int {
	n := 0
	for r.one() == 0 {
		if n++; n > 31 || r.over {
			r.over = true
			return 0
		}
	}
	return 1<<n - 1 + r.bits(n)
}

// signed reads se(v).
func (r *reader) signed() int {
	n := r.number()
	if n%2 == 1 {
		return (n + 1) / 2
	}
	return -n / 2
}
