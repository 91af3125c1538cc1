# Doxyfile's filter: the plain comment at the head of a header, which says what it is for, is repeated at
# its end as the description of the file. So lines keep their numbers in warnings.
BEGIN { head = 1 }
!/^\/\// { head = 0 }
head { about = about "/" $0 "\n" }
{ print }
END { printf "/// @file\n%s", about }
