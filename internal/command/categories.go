package command

import "slices"

// ACLCategories are the names of all ACL categories, in the order of ACL CAT.
func ACLCategories() []string { return slices.Clone(aclOrder) }
